"""The messages of a unit as JSON-able dicts. docs/mqtt.md has their schemas; a test holds the two together.

A field may be added at any time; a field that goes, or changes its meaning, gets the next schema number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edge.bundles.status import UpdateStatus
from edge.conditions import Condition
from edge.engines.progress import BuildProgress
from edge.station.governor import GovernorState
from edge.telemetry import station_payloads
from edge.telemetry.fields import Payload, clock, rounded, timestamp
from edge.types import Box, Event, Instant, SourceStatus

EVENT_SCHEMA = "tapetum.event/1"
STATUS_SCHEMA = "tapetum.status/1"
HEALTH_SCHEMA = "tapetum.health/1"
ENGINES_SCHEMA = "tapetum.engines/1"
ANSWER_SCHEMA = "tapetum.ack/1"


@dataclass(frozen=True, slots=True)
class BundleInfo:
    """Which networks run, and how."""

    name: str
    version: str
    precision: str  # fp32 | int8 ...
    runtime: str  # openvino | tensorrt
    runtime_detail: str = ""  # why it is not a better one


@dataclass(frozen=True, slots=True)
class HealthReport:
    """How the unit was doing at one moment. Rates and latencies are those since the report before it."""

    at: Instant
    uptime_s: float
    fps_in: float
    fps_colour: float
    fps_detect: float
    latency_p50_ms: float | None  # camera frame in to coloured frame out; None before the first one
    latency_p99_ms: float | None
    drops: Mapping[str, int]  # per lane: frames that it had no time for, since the start
    grey_frames: int  # whose chroma was not finite, since the start
    temperature_c: float | None
    memory_mb: float
    source: SourceStatus
    bundle: BundleInfo
    rtsp_url: str | None  # None where RTSP is off
    rtsp_clients: int
    mqtt_published: int
    mqtt_queued: int
    mqtt_unsaved: int  # events that wait in memory alone
    mqtt_dropped: int
    governor: GovernorState = field(default_factory=GovernorState)
    conditions: tuple[Condition, ...] = ()  # those that are on
    update: UpdateStatus = field(default_factory=UpdateStatus)


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a command.

    Attributes:
        result: "started" goes on in the background; "refused" has changed nothing; "failed" was tried.
        reason: of what was refused or failed, in one line.
        command, id: None where the message did not tell them in a way that could be read.
        data: what the command gives.
    """

    result: Literal["done", "started", "refused", "failed"]
    reason: str = ""
    command: str | None = None
    id: str | None = None
    data: Mapping[str, object] = field(default_factory=dict)


def status(unit: str, state: Literal["online", "offline"]) -> Payload:
    """Whether the unit is there. Without a time: the broker sends the last will long after it was written."""
    return {"schema": STATUS_SCHEMA, "unit": unit, "state": state}


def event(event: Event, unit: str, bundle: BundleInfo) -> Payload:
    """One event, but for `late`, which is known when it is sent.

    `event_id` depends on the event alone: a message that is delivered twice has the same. All times are by the clock
    as it was at the frame: one that was set since the object was first seen does not tear them apart.
    """
    track, at, (width, height) = event.track, event.frame_time, event.frame_size
    return {
        "schema": EVENT_SCHEMA,
        "event_id": f"{track.id}-{event.kind.value}-{event.frame_seq}",
        "kind": event.kind.value,
        "unit": unit,
        "bundle": {"name": bundle.name, "version": bundle.version},
        "track_id": track.id,
        "label": track.label,
        "score": rounded(track.score, 3),
        "box_px": [round(value, 1) for value in _xywh(track.box, width, height, 1.0, 1.0)],
        "box_norm": [round(value, 5) for value in _xywh(track.box, width, height, width, height)],
        "clock": clock(at),
        "first_seen": timestamp(at.utc_of(track.first_seen)),
        "last_seen": timestamp(at.utc_of(track.last_seen)),
        "frame": {
            "seq": event.frame_seq,
            "time_utc": timestamp(at.utc),
            "monotonic_ns": at.monotonic_ns,
            "width": width,
            "height": height,
        },
    }


def health(report: HealthReport, unit: str) -> Payload:
    """The state of the whole unit; null stands for what is not known."""
    bundle = report.bundle
    return {
        "schema": HEALTH_SCHEMA,
        "unit": unit,
        "time_utc": timestamp(report.at.utc),
        "clock": clock(report.at),
        "uptime_s": rounded(report.uptime_s, 1),
        "fps": {
            "in": rounded(report.fps_in, 2),
            "colour": rounded(report.fps_colour, 2),
            "detect": rounded(report.fps_detect, 2),
        },
        "latency_ms": {"p50": rounded(report.latency_p50_ms, 2), "p99": rounded(report.latency_p99_ms, 2)},
        "drops": dict(report.drops),
        "grey_frames": report.grey_frames,
        "temperature_c": rounded(report.temperature_c, 1),
        "memory_mb": rounded(report.memory_mb, 1),
        "source": _source(report.source, report.at),
        "bundle": {
            "name": bundle.name,
            "version": bundle.version,
            "precision": bundle.precision,
            "runtime": bundle.runtime,
            "runtime_detail": bundle.runtime_detail,
        },
        "rtsp": {"url": report.rtsp_url, "clients": report.rtsp_clients},
        "mqtt": {
            "published": report.mqtt_published,
            "queued": report.mqtt_queued,
            "unsaved": report.mqtt_unsaved,
            "dropped": report.mqtt_dropped,
        },
        "governor": station_payloads.governor(report.governor),
        "update": {"phase": report.update.phase, "bundle": report.update.bundle, "news": report.update.news},
        "conditions": station_payloads.conditions(report.conditions, report.at),
    }


def engines(progress: BuildProgress, unit: str, at: Instant) -> Payload:
    """How the renewal of the engines goes on."""
    return {
        "schema": ENGINES_SCHEMA,
        "unit": unit,
        "time_utc": timestamp(at.utc),
        "state": progress.state,
        "model": progress.model,
        "precision": progress.precision,
        "percent": progress.percent,
        "detail": progress.detail,
    }


def answer(answer: Answer, unit: str, at: Instant) -> Payload:
    """What became of a command."""
    return {
        "schema": ANSWER_SCHEMA,
        "unit": unit,
        "time_utc": timestamp(at.utc),
        "clock": clock(at),
        "command": answer.command,
        "id": answer.id,
        "result": answer.result,
        "reason": answer.reason,
        "data": dict(answer.data),
    }


def _source(source: SourceStatus, at: Instant) -> Payload:
    last = source.last_frame_at
    return {
        "state": source.state.value,
        "detail": source.detail,
        "frames": source.frames,
        "rebuilds": source.rebuilds,
        "size": None if source.size is None else list(source.size),
        "last_frame_age_s": None if last is None else round((at.monotonic_ns - last.monotonic_ns) / 1e9, 3),
    }


def _xywh(box: Box, width: int, height: int, unit_x: float, unit_y: float) -> list[float]:
    """The part of an xyxy box in px that lies inside the frame, as x, y, width, height in the given units."""
    x0, x1 = (min(max(x, 0.0), width) / unit_x for x in (box[0], box[2]))
    y0, y1 = (min(max(y, 0.0), height) / unit_y for y in (box[1], box[3]))
    return [x0, y0, x1 - x0, y1 - y0]
