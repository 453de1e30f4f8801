"""The configuration: one TOML file, parsed once into typed, frozen objects.

Every key stands, with its comment, in `systemd/edge.toml`. An unknown or ill-typed key is a ConfigError that
names key, file and allowed values. Secrets are never in the TOML: `*_file` keys name a file; a bare name without
a slash is looked up among the systemd credentials (LoadCredential=) of the service.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from edge.errors import ConfigError
from edge.sections import (
    BundleConfig,
    ColourConfig,
    DetectConfig,
    EnginesConfig,
    MqttConfig,
    RtspConfig,
    Section,
    ServiceConfig,
    SourceConfig,
    SpoolConfig,
    UnitConfig,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Config(Section):
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
