"""`tapetum-edge check`: what can be known of a configuration without starting the service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edge.app import open_bundle
from edge.config import SourceConfig, load_config
from edge.networks import Networks
from edge.telemetry.mqtt import MqttClient
from edge.video.rtsp import RtspServer
from edge.video.source import Source


def check(path: Path) -> Iterator[str]:
    """Make each part of the service, start none, and yield a line for each that is well.

    Raises:
        TapetumError: the first part that is not, with its exit code.
    """
    config = load_config(path)
    yield f"{path}: configuration ok, unit {config.unit.name}"
    Source(config.source, lambda frame: None)
    yield _source(config.source)
    if config.rtsp.enabled:
        RtspServer(config.rtsp)
        yield f"rtsp ok, {config.rtsp.address} port {config.rtsp.port}"
    if config.mqtt.enabled:
        MqttClient(config.mqtt, config.unit.name)
        yield f"mqtt ok, broker {config.mqtt.host} port {config.mqtt.port}"
    bundle = open_bundle(config)
    with Networks(bundle):
        manifest = bundle.manifest
        yield f"bundle {manifest.name} version {manifest.version} ok, {len(manifest.labels)} labels"


def _source(source: SourceConfig) -> str:
    if source.kind == "v4l2" and not Path(source.device).exists():
        return f"source {source.device} is not there yet; the service waits for it"
    return f"source {source.kind} ok"
