"""Real events and a health report for the tests, made by the real tracker and event log."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import numpy as np

from edge.events import EventLog
from edge.sections import DetectConfig
from edge.telemetry.payloads import BundleInfo, HealthReport
from edge.tracking import Tracker
from edge.types import Detections, Event, Frame, Instant, SourceState, SourceStatus

UNIT = "unit-1"
BUNDLE = BundleInfo("demo", "1.2.3", "int8", "openvino", "no NVIDIA GPU in this machine")
START = datetime(2024, 5, 1, 22, 0, tzinfo=timezone.utc)


def at(seconds: float) -> Instant:
    return Instant(START + timedelta(seconds=seconds), 5_000_000_000 + round(seconds * 1e9))


def scene(frames: int = 40) -> list[Event]:
    """A dog walks out of a 641x479 picture on its left; then the service closes."""
    config = DetectConfig(appear_after=2)
    tracker, log = Tracker(config, ["cat", "dog"]), EventLog(config)
    events: list[Event] = []
    for n in range(frames):
        frame = Frame(n, n * 100_000_000, at(n / 10), np.zeros((479, 641), np.uint8))
        box = np.array([[60 - 4 * n, 400, 160 - 4 * n, 490]], np.float32)
        found = Detections(box, np.array([1]), np.array([0.9], np.float32))
        events += log.update(tracker.update(found, frame.captured_at), frame)
    return events + log.close(at(frames / 10))


def report() -> HealthReport:
    """A unit in full swing."""
    return HealthReport(
        at=at(60),
        uptime_s=60.04,
        fps_in=25.0,
        fps_colour=24.96,
        fps_detect=9.51,
        latency_p50_ms=31.42,
        latency_p99_ms=48.9,
        drops={"colour": 1, "detect": 900},
        grey_frames=2,
        temperature_c=61.25,
        memory_mb=412.71,
        source=SourceStatus(SourceState.LIVE, "", 1500, 1, at(59.98), (641, 479)),
        bundle=BUNDLE,
        rtsp_url="rtsp://127.0.0.1:8554/colour",
        rtsp_clients=2,
        mqtt_published=100,
        mqtt_queued=0,
        mqtt_unsaved=0,
        mqtt_dropped=0,
    )


def report_of_a_young_unit() -> HealthReport:
    """Nothing is known yet, and much never will be: no thermometer, no RTSP."""
    return HealthReport(
        at=at(1),
        uptime_s=1.0,
        fps_in=0.0,
        fps_colour=0.0,
        fps_detect=0.0,
        latency_p50_ms=None,
        latency_p99_ms=float("nan"),
        drops={},
        grey_frames=0,
        temperature_c=None,
        memory_mb=200.0,
        source=SourceStatus(SourceState.LOST, "no such device: /dev/video0"),
        bundle=BUNDLE,
        rtsp_url=None,
        rtsp_clients=0,
        mqtt_published=0,
        mqtt_queued=3,
        mqtt_unsaved=0,
        mqtt_dropped=0,
    )
