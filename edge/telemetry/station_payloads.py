"""What a unit tells of itself beside the video: its conditions and its governor, as JSON-able dicts."""

from __future__ import annotations

from collections.abc import Sequence

from edge.conditions import Condition
from edge.station.governor import GovernorState
from edge.telemetry.fields import Payload, clock, rounded, timestamp
from edge.types import Instant

CONDITION_SCHEMA = "tapetum.condition/1"


def condition(condition: Condition, unit: str) -> Payload:
    """Something is the matter with the unit, or no longer; but for `late`, as for events."""
    at, state = condition.changed, "on" if condition.is_on else "off"
    return {
        "schema": CONDITION_SCHEMA,
        "event_id": f"{condition.id}-{state}",
        "kind": "condition",
        "unit": unit,
        "name": condition.name,
        "state": state,
        "detail": condition.detail,
        "clock": clock(at),
        "since": timestamp(at.utc_of(condition.since)),
        "time_utc": timestamp(at.utc),
        "monotonic_ns": at.monotonic_ns,
    }


def conditions(conditions: Sequence[Condition], at: Instant) -> list[Payload]:
    """Those that are on, for health."""
    return [
        {"name": condition.name, "since": timestamp(at.utc_of(condition.since)), "detail": condition.detail}
        for condition in conditions
    ]


def governor(state: GovernorState) -> Payload:
    """How far the governor has gone, and what it goes by, for health."""
    readings = state.readings
    return {
        "level": state.level,
        "reasons": list(state.reasons),
        "memory_available_percent": rounded(readings.memory_available_percent, 1),
        "load": rounded(readings.load, 2),
        "power_w": rounded(readings.power_w, 2),
    }
