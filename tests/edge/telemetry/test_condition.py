"""Conditions as messages: their schema, and their place in the spool."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from edge.conditions import Condition
from edge.station.governor import GovernorState
from edge.station.sensors import Readings
from edge.telemetry import payloads, station_payloads
from edge.telemetry.spool_file import ROW_BYTES, Row, SpoolFile
from tests.edge.telemetry.samples import UNIT, at, report
from tests.edge.telemetry.schemas import validate

ON = Condition("black_picture", True, at(10), at(10), "level 3 of 255", "5b1e0c7d9a4f4e21")
OFF = replace(ON, is_on=False, changed=at(70.5), detail="level 90 of 255")


def test_on_and_off_in_full() -> None:
    on, off = (station_payloads.condition(condition, UNIT) for condition in (ON, OFF))
    assert off == {
        "schema": "tapetum.condition/1",
        "event_id": "5b1e0c7d9a4f4e21-off",
        "kind": "condition",
        "unit": "unit-1",
        "name": "black_picture",
        "state": "off",
        "detail": "level 90 of 255",
        "clock": "unsynchronised",
        "since": "2024-05-01T22:00:10.000Z",
        "time_utc": "2024-05-01T22:01:10.500Z",
        "monotonic_ns": at(70.5).monotonic_ns,
    }
    assert (on["state"], on["event_id"], on["since"]) == ("on", "5b1e0c7d9a4f4e21-on", off["since"])
    for payload in (on, off):
        validate({**payload, "late": False})
        with pytest.raises(jsonschema.ValidationError):
            validate({**payload, "state": "maybe", "late": False})


def test_a_clock_that_was_set_meanwhile_does_not_tear_the_times_apart() -> None:
    """As the condition `clock_jumped` itself has it."""
    young = replace(at(10), utc=at(10).utc.replace(year=1970))
    payload = station_payloads.condition(replace(OFF, since=young), UNIT)
    assert payload["since"] == "2024-05-01T22:00:10.000Z"


def test_health_lists_conditions_and_the_governor() -> None:
    state = GovernorState(2, ("90.0 °C (limit 85)",), Readings(90.0, (), 41.26, 0.0, float("nan"), 11.843))
    payload = payloads.health(replace(report(), governor=state, conditions=(ON,)), UNIT)
    validate(payload)
    assert payload["governor"] == {
        "level": 2,
        "reasons": ["90.0 °C (limit 85)"],
        "memory_available_percent": 41.3,
        "load": None,
        "power_w": 11.84,
    }
    assert payload["conditions"] == [
        {"name": "black_picture", "since": "2024-05-01T22:00:10.000Z", "detail": "level 3 of 255"}
    ]


def test_a_full_spool_gives_up_updates_before_conditions(tmp_path: Path) -> None:
    kinds = ["condition", "update", "appear", "update", "condition", "update", "leave"]
    payload = json.dumps({"x": "y" * 100}).encode()
    rows = [Row(number, kind, payload, number, None) for number, kind in enumerate(kinds, 1)]
    with closing(SpoolFile(tmp_path / "spool.db")) as file:
        assert file.store(rows, (), 4 * (len(payload) + ROW_BYTES)) == 3
        assert [row.kind for row in file.read(0, 10)] == ["condition", "appear", "condition", "leave"]
