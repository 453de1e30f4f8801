"""What the service tells of itself: to the broker, to systemd, and to the log."""

from __future__ import annotations

import logging
import time

from edge.conditions import Condition
from edge.config import Config
from edge.engines.progress import BuildProgress
from edge.health import Health
from edge.station import systemd
from edge.station.recent import RecentReports, runtime_folder
from edge.telemetry import payloads, station_payloads
from edge.telemetry.mqtt import MqttClient
from edge.telemetry.outbox import encoded
from edge.telemetry.payloads import BundleInfo
from edge.types import Event, Instant, SourceState, SourceStatus
from edge.video.rtsp import RtspServer

log = logging.getLogger(__name__)


class Reporter:
    """Any thread may call it; nothing here waits. Without a broker there is still systemd, and the log."""

    def __init__(self, config: Config, mqtt: MqttClient | None, rtsp: RtspServer | None) -> None:
        self._unit, self._interval_s = config.unit.name, config.mqtt.health_interval_s
        self._mqtt, self._rtsp = mqtt, rtsp
        self._health_due_s = 0.0
        self._recent = RecentReports(runtime_folder())

    def event(self, event: Event, bundle: BundleInfo) -> None:
        """Something appeared, is still there, or left."""
        payload = payloads.event(event, self._unit, bundle)
        log.debug("event %s", payload["event_id"])
        if self._mqtt:
            self._mqtt.publish_event(payload)

    def condition(self, condition: Condition) -> None:
        """A condition came on, or went off."""
        payload = station_payloads.condition(condition, self._unit)
        log.debug("event %s", payload["event_id"])
        if self._mqtt:
            self._mqtt.publish_event(payload)

    def engines(self, progress: BuildProgress) -> None:
        """A step of the engines' renewal."""
        level = logging.DEBUG if progress.state == "building" else logging.INFO
        log.log(level, "%s: %s", progress, progress.detail)
        if self._mqtt:
            self._mqtt.publish_engines(payloads.engines(progress, self._unit, Instant.now()))

    def health(self, health: Health) -> None:
        """How the unit is, where that is due. Call it often."""
        if time.monotonic() < self._health_due_s:
            return
        self._health_due_s = time.monotonic() + self._interval_s
        url, clients = (self._rtsp.url("colour"), self._rtsp.clients) if self._rtsp else (None, 0)
        report = health.report(url, clients, self._mqtt)
        payload = payloads.health(report, self._unit)
        self._recent.add(encoded(payload))
        if self._mqtt:
            self._mqtt.publish_health(payload)
        systemd.status(f"source {report.source.state.value}, {report.fps_colour:.1f} colour frames/s")


def log_source(status: SourceStatus) -> None:
    """The source changed its state."""
    level = logging.WARNING if status.state in (SourceState.LOST, SourceState.FAILED) else logging.INFO
    size = f" {status.size[0]}x{status.size[1]}" if status.size else ""
    log.log(level, "source %s%s%s", status.state.value, size, f": {status.detail}" if status.detail else "")
