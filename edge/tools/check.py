"""`tapetum-edge check`: what can be known of a configuration without starting the service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edge.config import load_config
from edge.opening import open_bundle
from edge.sections import SourceConfig
from edge.telemetry.mqtt import MqttClient
from edge.telemetry.spool import Spool
from edge.video.rtsp import RtspServer
from edge.video.source import Source
from edge.vision.backend import open_backend


def check(path: Path, *, allow_refused: bool = False) -> Iterator[str]:
    """Make each part of the service, start none, and yield a line for each that is well.

    Args:
        allow_refused: as in the configuration; either insists.

    Raises:
        TapetumError: the first part that is not, with its exit code.
    """
    config = load_config(path, allow_refused=allow_refused)
    yield f"{path}: configuration ok, unit {config.unit.name}"
    Source(config.source, lambda frame: None)
    yield _source(config.source)
    if config.rtsp.enabled:
        RtspServer(config.rtsp)
        yield f"rtsp ok, {config.rtsp.address} port {config.rtsp.port}"
    if config.mqtt.enabled:
        MqttClient(config.mqtt, config.unit.name, Spool(Path(config.service.state_dir), config.spool))
        yield f"mqtt ok, broker {config.mqtt.host} port {config.mqtt.port}"
    bundle = open_bundle(config)
    with open_backend(config, bundle) as backend:
        manifest = bundle.manifest
        signed = ", signature ok" if config.bundle.public_key and not bundle.is_shipped else ""
        yield f"bundle {manifest.name} version {manifest.version} ok, {len(manifest.labels)} labels{signed}"
        why = f" ({backend.detail})" if backend.detail else ""
        yield f"runtime {backend.name} {backend.precision} ok{why}"


def _source(source: SourceConfig) -> str:
    if source.kind == "v4l2" and not Path(source.device).exists():
        return f"source {source.device} is not there yet; the service waits for it"
    return f"source {source.kind} ok"
