"""How the unit is: the report for MQTT, and the pulse for systemd's watchdog."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from edge.bundles.status import UpdateStatus
from edge.conditions import Condition
from edge.lanes import ColourLane, DetectLane
from edge.rates import Meter
from edge.station import machine, systemd
from edge.station.governor import GovernorState
from edge.telemetry.mqtt import MqttClient
from edge.telemetry.payloads import BundleInfo, HealthReport
from edge.types import Instant, SourceStatus

STUCK_S = 15.0  # a lane that has not moved for so long is stuck: its longest step takes well under a second


class Health:
    """Gathers the parts' figures; rates and latencies are those between two reports."""

    def __init__(
        self,
        source_now: Callable[[], SourceStatus],
        colour: ColourLane,
        detect: DetectLane,
        bundle_now: Callable[[], BundleInfo],
        governor_now: Callable[[], GovernorState] = GovernorState,
        conditions_now: Callable[[], tuple[Condition, ...]] = tuple,
        update_now: Callable[[], UpdateStatus] = UpdateStatus,
    ) -> None:
        self._source_now, self._colour, self._detect, self._bundle_now = source_now, colour, detect, bundle_now
        self._governor_now, self._conditions_now = governor_now, conditions_now
        self._update_now = update_now
        self._meters = Meter(colour.rate), Meter(detect.rate)
        self._started_s = self._read_s = time.monotonic()
        self._frames = 0

    def report(self, rtsp_url: str | None, rtsp_clients: int, mqtt: MqttClient | None) -> HealthReport:
        """The state of the whole unit since the report before."""
        now_s, source = time.monotonic(), self._source_now()
        colour, detect = (meter.read() for meter in self._meters)
        fps_in = (source.frames - self._frames) / max(now_s - self._read_s, 1e-6)
        self._read_s, self._frames = now_s, source.frames
        return HealthReport(
            at=Instant.now(),
            uptime_s=now_s - self._started_s,
            fps_in=fps_in,
            fps_colour=colour.per_second,
            fps_detect=detect.per_second,
            latency_p50_ms=colour.p50_ms,
            latency_p99_ms=colour.p99_ms,
            drops={"colour": self._colour.dropped, "detect": self._detect.dropped},
            grey_frames=self._colour.grey_frames,
            temperature_c=machine.temperature_c(),
            memory_mb=machine.rss_mb(),
            source=source,
            bundle=self._bundle_now(),
            governor=self._governor_now(),
            conditions=self._conditions_now(),
            update=self._update_now(),
            rtsp_url=rtsp_url,
            rtsp_clients=rtsp_clients,
            mqtt_published=mqtt.published if mqtt else 0,
            mqtt_queued=mqtt.queued if mqtt else 0,
            mqtt_unsaved=mqtt.unsaved if mqtt else 0,
            mqtt_dropped=mqtt.dropped if mqtt else 0,
        )


class Beating(Protocol):
    """A thread that shows that it lives: `beat_ns` is the monotonic time of its last sign of life."""

    beat_ns: int


class Pulse:
    """Feeds systemd's watchdog while the source and both lanes move, and only then.

    A lane moves when it finishes a frame, or finds that the source has none and shows the card; the source moves
    while it waits for a camera, too: a camera that is away is no reason to restart the service, a hanging thread is.
    """

    def __init__(self, parts: Sequence[Beating]) -> None:
        self._parts = parts
        interval_s = systemd.watchdog_interval_s()
        self._interval_s = interval_s / 2 if interval_s else None
        self._fed_s = 0.0

    def beat(self) -> None:
        """Call it often; it feeds when it is time and all is well."""
        now_s = time.monotonic()
        if self._interval_s is None or now_s - self._fed_s < self._interval_s:
            return
        if all(now_s - part.beat_ns / 1e9 < STUCK_S for part in self._parts):
            systemd.watchdog()
            self._fed_s = now_s
