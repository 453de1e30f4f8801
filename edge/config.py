"""The configuration: one TOML file, parsed once into typed, frozen objects.

Every key stands, with its comment, in `systemd/edge.toml`. An unknown or ill-typed key is a ConfigError that
names key, file and allowed values. Secrets are never in the TOML: `*_file` keys name a file; a bare name without
a slash is looked up among the systemd credentials (LoadCredential=) of the service.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edge.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
TopicPrefix = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$")]
Port = Annotated[int, Field(ge=0, le=65535)]
LogLevel = Literal["debug", "info", "warning", "error"]


class _Section(BaseModel):
    """Unknown keys are errors; values are not coerced from other types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class UnitConfig(_Section):
    name: Name = "tapetum-1"


class ServiceConfig(_Section):
    state_dir: str = "/var/lib/tapetum"
    runtime: Literal["auto", "tensorrt", "cpu"] = "auto"
    log_level: LogLevel = "info"

    @property
    def engines_dir(self) -> Path:
        """Where the unit's engines are built and kept."""
        return Path(self.state_dir) / "engines"


class SourceConfig(_Section):
    kind: Literal["file", "rtsp", "v4l2", "csi", "test"] = "v4l2"
    path: str = ""
    loop: bool = True
    url: Annotated[str, Field(pattern=r"^(rtsps?://\S+)?$")] = ""
    username: str = ""
    password_file: str = ""
    transport: Literal["tcp", "udp"] = "tcp"
    latency_ms: Annotated[int, Field(ge=0, le=10_000)] = 100
    device: str = "/dev/video0"
    sensor_id: Annotated[int, Field(ge=0, le=15)] = 0
    pattern: Literal["smpte", "snow", "ball", "black", "white"] = "ball"
    width: Annotated[int, Field(ge=0, le=8192)] = 0
    height: Annotated[int, Field(ge=0, le=8192)] = 0
    fps: Annotated[int, Field(ge=0, le=240)] = 0
    stall_s: Annotated[float, Field(ge=0.5, le=60)] = 2.0

    @model_validator(mode="after")
    def _complete(self) -> SourceConfig:
        if self.kind == "file" and not self.path:
            raise ValueError('kind = "file" needs path = "CLIP"')
        if self.kind == "rtsp" and not self.url:
            raise ValueError('kind = "rtsp" needs url = "rtsp://..."')
        if self.password_file and not self.username:
            raise ValueError("password_file needs username")
        if (self.width == 0) != (self.height == 0):
            raise ValueError("width and height are given together, or both left at 0 (the camera's own)")
        if "@" in self.url.split("//", 1)[-1].split("/", 1)[0]:
            raise ValueError("url must not carry a login: use username and password_file")
        return self


class BundleConfig(_Section):
    path: str = ""
    precision: Literal["auto", "fp32", "fp16", "int8"] = "auto"
    public_key: str = ""
    allow_refused: bool = False


class EnginesConfig(_Section):
    renew: Literal["auto", "dry-run", "off"] = "auto"


class ColourConfig(_Section):
    context_interval_s: Annotated[float, Field(ge=0.1, le=3600)] = 5.0
    scene_change: Annotated[float, Field(gt=0, le=1)] = 0.25
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.6
    upsampling: Literal["nearest", "guided"] = "nearest"


class DetectConfig(_Section):
    score_threshold: Annotated[float, Field(ge=0.05, le=1)] = 0.5
    max_fps: Annotated[float, Field(gt=0, le=240)] = 10.0
    appear_after: Annotated[int, Field(ge=1, le=100)] = 3
    leave_after_s: Annotated[float, Field(ge=0.1, le=600)] = 2.0
    update_interval_s: Annotated[float, Field(ge=1, le=3600)] = 1.0


class RtspConfig(_Section):
    enabled: bool = True
    address: str = "127.0.0.1"
    port: Port = 8554
    username: str = ""
    password_file: str = ""
    overlay: bool = True
    bitrate_kbps: Annotated[int, Field(ge=100, le=50_000)] = 2000

    @model_validator(mode="after")
    def _complete(self) -> RtspConfig:
        if bool(self.username) != bool(self.password_file):
            raise ValueError("username and password_file are given together, or neither")
        return self


class MqttConfig(_Section):
    enabled: bool = True
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 1883
    prefix: TopicPrefix = "tapetum"
    username: str = ""
    password_file: str = ""
    tls: bool = False
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    health_interval_s: Annotated[float, Field(ge=1, le=3600)] = 10.0

    @model_validator(mode="after")
    def _complete(self) -> MqttConfig:
        if self.password_file and not self.username:
            raise ValueError("password_file needs username")
        if (self.ca_file or self.cert_file or self.key_file) and not self.tls:
            raise ValueError("ca_file, cert_file and key_file need tls = true")
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("cert_file and key_file are given together, or neither")
        return self


class SpoolConfig(_Section):
    max_mib: Annotated[int, Field(ge=1, le=65_536)] = 64
    max_age_days: Annotated[int, Field(ge=1, le=3650)] = 30
    memory: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000


class Config(_Section):
    """The whole configuration. Defaults are those of `systemd/edge.toml`."""

    unit: UnitConfig = UnitConfig()
    service: ServiceConfig = ServiceConfig()
    source: SourceConfig = SourceConfig()
    bundle: BundleConfig = BundleConfig()
    engines: EnginesConfig = EnginesConfig()
    colour: ColourConfig = ColourConfig()
    detect: DetectConfig = DetectConfig()
    rtsp: RtspConfig = RtspConfig()
    mqtt: MqttConfig = MqttConfig()
    spool: SpoolConfig = SpoolConfig()


def load_config(path: Path, *, allow_refused: bool = False) -> Config:
    """Read and check a TOML file.

    Args:
        allow_refused: what the command line says; either it or the file insists.

    Raises:
        ConfigError: the file is missing, is not TOML, or has an unknown or wrong key.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the configuration: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    config = parse_config(data, origin=str(path))
    if allow_refused:
        return config.model_copy(update={"bundle": config.bundle.model_copy(update={"allow_refused": True})})
    return config


def parse_config(data: dict[str, Any], *, origin: str) -> Config:
    """Check a parsed TOML document; `origin` names it in messages.

    Raises:
        ConfigError: an unknown or wrong key, all of them in one line.
    """
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{origin}: " + "; ".join(_explain(item) for item in error.errors())) from error


def credential(file: str) -> Path:
    """The path that a key names; a bare name without a slash is a systemd credential."""
    return Path(file) if "/" in file else Path(os.environ.get("CREDENTIALS_DIRECTORY", ".")) / file


def read_secret(file: str) -> str:
    """The first line of a secret's file; a bare name is a systemd credential.

    Raises:
        ConfigError: the file is missing, not readable or empty.
    """
    path = credential(file)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the secret: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: the secret is not text in UTF-8") from error
    if not lines or not lines[0]:
        raise ConfigError(f"{path}: the secret's file is empty: put the password on its first line")
    return lines[0]


def _explain(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"]) or "top level"
    if item["type"] == "extra_forbidden":
        return f"unknown key {key} (allowed here: {', '.join(_known_keys(item['loc'][:-1]))})"
    message = str(item["msg"]).removeprefix("Value error, ")
    # A URL may carry a login, which belongs in no log.
    is_told = item["type"] != "value_error" and item["loc"][-1:] != ("url",)
    value = f", not {item['input']!r}" if is_told else ""
    return f"{key}: {message}{value}"


def _known_keys(location: tuple[str | int, ...]) -> list[str]:
    model: type[BaseModel] = Config
    for part in location:
        annotation = model.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return sorted(model.model_fields)
