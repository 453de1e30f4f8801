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

from pydantic import BaseModel, ValidationError, model_validator

from edge.errors import ConfigError, one_line
from edge.field_sections import GovernorConfig, StationConfig, UpdatesConfig
from edge.sections import (
    BundleConfig,
    ColourConfig,
    CommandsConfig,
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


LARGEST = 1 << 16  # bytes of the configuration or of a secret
LONGEST = 1024  # characters of a line: to tomllib, a key of many parts costs the square of their number
TOLD = 4  # faults, in one line; the others by their number
SECRETS = "/etc/tapetum/secrets"  # where the packaged unit has its credentials from


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
    commands: CommandsConfig = CommandsConfig()
    spool: SpoolConfig = SpoolConfig()
    governor: GovernorConfig = GovernorConfig()
    station: StationConfig = StationConfig()
    updates: UpdatesConfig = UpdatesConfig()

    @model_validator(mode="after")
    def _complete(self) -> Config:
        if self.commands.enabled and not self.mqtt.enabled:
            raise ValueError("commands.enabled = true needs mqtt.enabled = true")
        return self


def load_config(path: Path, *, allow_refused: bool = False) -> Config:
    """Read and check a TOML file.

    Args:
        allow_refused: what the command line says; either it or the file insists.

    Raises:
        ConfigError: the file is missing, is not TOML, or has an unknown or wrong key.
    """
    config = parse_config(read_document(path), origin=str(path))
    if allow_refused:
        return config.model_copy(update={"bundle": config.bundle.model_copy(update={"allow_refused": True})})
    return config


def read_document(path: Path) -> dict[str, Any]:
    """The content of a TOML file, not checked.

    Raises:
        ConfigError: the file is missing, or is not TOML.
    """
    try:
        return _parsed(_text(path))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot read the configuration: {error.strerror}: name the file by --config"
        ) from error
    except (ValueError, RecursionError) as error:  # nested thousands deep, or a number of thousands of digits, too
        raise ConfigError(f"{path}: not valid TOML: {one_line(str(error))}") from error


def parse_config(data: dict[str, Any], *, origin: str) -> Config:
    """Check a parsed TOML document; `origin` names it in messages.

    Raises:
        ConfigError: an unknown or wrong key, all of them in one line.
    """
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        faults = [one_line(_explain(item), 450) for item in error.errors(include_url=False)]
        more = f"; and {len(faults) - TOLD} more" if len(faults) > TOLD else ""
        raise ConfigError(f"{origin}: " + "; ".join(faults[:TOLD]) + more) from error


def _parsed(text: str) -> dict[str, Any]:
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > LONGEST:
            raise ValueError(f"line {number} has over {LONGEST} characters")
    return tomllib.loads(text)


def _text(path: Path) -> str:
    """The file's text; a byte order mark before it is none of it.

    Raises:
        OSError, ValueError: it cannot be read; it is not UTF-8, or too long.
    """
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"over {LARGEST} bytes")
    return content.decode("utf-8-sig")


def credential(file: str) -> Path:
    """The path that a key names; a bare name without a slash is a systemd credential.

    Commands that a person runs find it where the service's come from, and never in the folder that they are run in:
    that may be anybody's, a stick's with a key and a bundle of its own.
    """
    return Path(file) if "/" in file else Path(os.environ.get("CREDENTIALS_DIRECTORY", SECRETS)) / file


def read_secret(file: str) -> str:
    """The first line of a secret's file; a bare name is a systemd credential.

    Raises:
        ConfigError: the file is missing, not readable or empty, or holds what nobody can type.
    """
    path = credential(file)
    try:
        lines = _text(path).splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the secret: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: the secret is not text in UTF-8, of {LARGEST} bytes at most") from error
    if not lines or not lines[0]:
        raise ConfigError(f"{path}: the secret's file is empty: put the password on its first line")
    if not lines[0].isprintable():
        raise ConfigError(f"{path}: the password holds a control character: put text on the first line")
    return lines[0]


def _explain(item: Any) -> str:
    key = one_line(".".join(str(part) for part in item["loc"]), 80) or "top level"
    if item["type"] == "extra_forbidden":
        return f"unknown key {key} (allowed here: {', '.join(_known_keys(item['loc'][:-1]))})"
    message = str(item["msg"]).removeprefix("Value error, ")
    # A URL may carry a login, and a whole table anything: neither belongs in a log.
    is_table = isinstance(item["input"], dict | list)
    is_told = item["type"] != "value_error" and item["loc"][-1:] != ("url",) and not is_table
    return f"{key}: {message}, not {_shown(item['input'])}" if is_told else f"{key}: {message}"


def _shown(value: object) -> str:
    try:
        return one_line(repr(value), 80)
    except ValueError:  # hexadecimal, and too long for Python to write it in decimal
        return "a number of thousands of digits"


def _known_keys(location: tuple[str | int, ...]) -> list[str]:
    model: type[BaseModel] = Config
    for part in location:
        annotation = model.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return sorted(model.model_fields)
