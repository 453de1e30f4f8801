"""The sections of the configuration: typed, frozen, each with the bounds of its values and its defaults.

Every key stands, with its comment, in `systemd/edge.toml`; a test holds the two together.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
TopicPrefix = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$")]
Port = Annotated[int, Field(ge=0, le=65535)]
LogLevel = Literal["debug", "info", "warning", "error"]


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone; of names, localhost alone counts as one."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Section(BaseModel):
    """Unknown keys are errors; values are not coerced from other types; texts are printable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @field_validator("*")
    @classmethod
    def _printable(cls, value: object) -> object:
        if isinstance(value, str) and not value.isprintable():
            raise ValueError("must not hold a control character")
        return value


class UnitConfig(Section):
    name: Name = "tapetum-1"


class ServiceConfig(Section):
    state_dir: str = "/var/lib/tapetum"
    runtime: Literal["auto", "tensorrt", "cpu"] = "auto"
    log_level: LogLevel = "info"

    @property
    def engines_dir(self) -> Path:
        """Where the unit's engines are built and kept."""
        return Path(self.state_dir) / "engines"


class SourceConfig(Section):
    kind: Literal["file", "rtsp", "v4l2", "csi", "test"] = "v4l2"
    path: str = ""
    loop: bool = True
    url: Annotated[str, Field(pattern=r"^(rtsps?://\S+)?$")] = ""
    username: str = ""
    password_file: str = ""
    ca_file: str = ""
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
        is_secure = self.url.startswith("rtsps:")
        if self.ca_file and not is_secure:
            raise ValueError("ca_file needs an rtsps:// url")
        if is_secure and self.transport == "udp":
            raise ValueError('rtsps:// needs transport = "tcp": over UDP the video would go unprotected')
        if (self.width == 0) != (self.height == 0):
            raise ValueError("width and height are given together, or both left at 0 (the camera's own)")
        if "@" in self.url:
            raise ValueError("url must not carry a login: use username and password_file (an @ in a path is %40)")
        return self

    @property
    def camera(self) -> str:
        """The url as far as it may be told: some cameras take the login in the path or the query."""
        return "/".join(self.url.split("/", 3)[:3]).split("?", 1)[0]


class BundleConfig(Section):
    path: str = ""
    precision: Literal["auto", "fp32", "fp16", "int8"] = "auto"
    public_key: str = ""
    allow_refused: bool = False


class EnginesConfig(Section):
    renew: Literal["auto", "dry-run", "off"] = "auto"


class ColourConfig(Section):
    context_interval_s: Annotated[float, Field(ge=0.1, le=3600)] = 5.0
    scene_change: Annotated[float, Field(gt=0, le=1)] = 0.25
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.6
    upsampling: Literal["nearest", "guided"] = "nearest"


class DetectConfig(Section):
    score_threshold: Annotated[float, Field(ge=0.05, le=1)] = 0.5
    max_fps: Annotated[float, Field(gt=0, le=240)] = 10.0
    appear_after: Annotated[int, Field(ge=1, le=100)] = 3
    leave_after_s: Annotated[float, Field(ge=0.1, le=600)] = 2.0
    update_interval_s: Annotated[float, Field(ge=1, le=3600)] = 1.0


class RtspConfig(Section):
    enabled: bool = True
    address: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Port = 8554
    username: str = ""
    password_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    max_viewers: Annotated[int, Field(ge=1, le=64)] = 8
    overlay: bool = True
    bitrate_kbps: Annotated[int, Field(ge=100, le=50_000)] = 2000

    @model_validator(mode="after")
    def _complete(self) -> RtspConfig:
        if bool(self.username) != bool(self.password_file):
            raise ValueError("username and password_file are given together, or neither")
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("cert_file and key_file are given together, or neither")
        if not (self.username or is_loopback(self.address)):
            raise ValueError(
                f"address {self.address!r} opens the video to the network: set username and password_file"
            )
        return self


class MqttConfig(Section):
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


class CommandsConfig(Section):
    enabled: bool = False
    max_per_minute: Annotated[int, Field(ge=1, le=600)] = 30
    max_age_s: Annotated[float, Field(ge=1, le=3600)] = 60.0
    snapshot_max_kib: Annotated[int, Field(ge=8, le=1024)] = 256


class SpoolConfig(Section):
    max_mib: Annotated[int, Field(ge=1, le=65_536)] = 64
    max_age_days: Annotated[int, Field(ge=1, le=3650)] = 30
    memory: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
