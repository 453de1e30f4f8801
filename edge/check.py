"""`tapetum-edge check`: what can be known of a configuration without starting the service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edge.app import open_bundle
from edge.config import Config, load_config, read_secret
from edge.errors import InputError
from edge.telemetry import tls


def check(path: Path) -> Iterator[str]:
    """Yield a line for each part that is well.

    Raises:
        TapetumError: the first part that is not, with its exit code.
    """
    config = load_config(path)
    yield f"{path}: configuration ok, unit {config.unit.name}"
    for secret in _secrets(config):
        read_secret(secret)
        yield f"secret {secret} ok"
    if config.mqtt.enabled and config.mqtt.tls:
        tls.client_context(config.mqtt)
        yield "certificates ok"
    yield _source(config)
    manifest = open_bundle(config).manifest
    yield f"bundle {manifest.name} version {manifest.version} ok, {len(manifest.labels)} labels"


def _secrets(config: Config) -> list[str]:
    files = [config.source.password_file, config.rtsp.password_file, config.mqtt.password_file]
    return [file for file in files if file]


def _source(config: Config) -> str:
    source = config.source
    if source.kind == "file" and not Path(source.path).is_file():
        raise InputError(f"{source.path}: no such clip")
    if source.kind == "v4l2" and not Path(source.device).exists():
        return f"source {source.device} is not there yet; the service waits for it"
    return f"source {source.kind} ok"
