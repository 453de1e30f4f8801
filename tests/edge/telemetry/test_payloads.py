"""The messages, their values, and docs/mqtt.md, which describes them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import jsonschema
import pytest

from edge.engines.progress import BuildProgress
from edge.telemetry import payloads, station_payloads
from edge.types import Event, EventKind, Instant, Track
from tests.edge.telemetry.samples import BUNDLE, UNIT, at, report, report_of_a_young_unit, scene
from tests.edge.telemetry.schemas import EXAMPLES, SCHEMAS, validate


def event_of(box: tuple[float, float, float, float]) -> Event:
    track = Track("0123456789abcdef", "dog", 0.87654, box, at(0.25), at(1.5))
    return Event(EventKind.UPDATE, track, 42, at(1.5), (640, 480))


def sent(event: Event) -> dict[str, Any]:
    """As it arrives: the outbox adds `late`."""
    return {**payloads.event(event, UNIT, BUNDLE), "late": False}


def test_the_document_has_a_schema_and_an_example_of_each_message() -> None:
    known = {**vars(payloads), **vars(station_payloads)}
    names = {value for name, value in known.items() if name.endswith("_SCHEMA")}
    assert set(SCHEMAS) == names
    assert {example["schema"] for example in EXAMPLES} == names


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["schema"])
def test_the_examples_of_the_document_are_valid(example: dict[str, Any]) -> None:
    validate(example)


def test_an_event_in_full() -> None:
    assert payloads.event(event_of((100, 50, 300, 170.06)), UNIT, BUNDLE) == {
        "schema": "tapetum.event/1",
        "event_id": "0123456789abcdef-update-42",
        "kind": "update",
        "unit": "unit-1",
        "bundle": {"name": "demo", "version": "1.2.3"},
        "track_id": "0123456789abcdef",
        "label": "dog",
        "score": 0.877,
        "box_px": [100.0, 50.0, 200.0, 120.1],
        "box_norm": [0.15625, 0.10417, 0.3125, 0.25012],
        "clock": "unsynchronised",
        "first_seen": "2024-05-01T22:00:00.250Z",
        "last_seen": "2024-05-01T22:00:01.500Z",
        "frame": {
            "seq": 42,
            "time_utc": "2024-05-01T22:00:01.500Z",
            "monotonic_ns": 6_500_000_000,
            "width": 640,
            "height": 480,
        },
    }


@pytest.mark.parametrize(
    ("box", "px"),
    [
        ((-20, -10, 700, 500), [0, 0, 640, 480]),
        ((600, 400, 700, 500), [600, 400, 40, 80]),
        ((700, 500, 800, 600), [640, 480, 0, 0]),
        ((-90, -90, -10, -10), [0, 0, 0, 0]),
    ],
)
def test_boxes_end_at_the_frame(box: tuple[float, float, float, float], px: list[float]) -> None:
    payload = sent(event_of(box))
    assert payload["box_px"] == px
    assert payload["box_norm"] == pytest.approx([px[0] / 640, px[1] / 480, px[2] / 640, px[3] / 480], abs=1e-5)
    validate(payload)


def test_a_whole_life_is_valid_and_its_ids_are_unique() -> None:
    messages = [sent(event) for event in scene()]
    for message in messages:
        validate(message)
    assert [message["kind"] for message in messages] == ["appear", "update", "update", "update", "leave"]
    assert len({message["event_id"] for message in messages}) == len(messages)
    assert len({message["track_id"] for message in messages}) == 1


def test_health_in_full() -> None:
    payload = payloads.health(report(), UNIT)
    validate(payload)
    assert payload["fps"] == {"in": 25.0, "colour": 24.96, "detect": 9.51}
    assert payload["latency_ms"] == {"p50": 31.42, "p99": 48.9}
    assert payload["source"] == {
        "state": "live",
        "detail": "",
        "frames": 1500,
        "rebuilds": 1,
        "size": [641, 479],
        "last_frame_age_s": 0.02,
    }
    assert payload["rtsp"] == {"url": "rtsp://127.0.0.1:8554/colour", "clients": 2}


def test_what_is_not_known_is_null() -> None:
    payload = payloads.health(report_of_a_young_unit(), UNIT)
    validate(payload)
    json.dumps(payload, allow_nan=False)
    assert payload["latency_ms"] == {"p50": None, "p99": None}
    assert payload["temperature_c"] is None
    assert payload["source"]["last_frame_age_s"] is None
    assert payload["rtsp"]["url"] is None


@pytest.mark.parametrize("state", ["online", "offline"])
def test_status(state: Any) -> None:
    validate(payloads.status(UNIT, state))


def test_the_schemas_refuse_what_is_wrong() -> None:
    good = sent(event_of((1, 2, 3, 4)))
    wrong: list[dict[str, Any]] = [
        {"kind": "vanish"},
        {"box_norm": [0.1, 0.2, 1.3, 0.1]},
        {"box_px": [1, 2, 3]},
        {"last_seen": "2024-05-01 22:00:01"},
        {"surprise": 1},
    ]
    for change in wrong:
        with pytest.raises(jsonschema.ValidationError):
            validate({**good, **change})
    unfinished = {key: value for key, value in payloads.health(report(), UNIT).items() if key != "source"}
    with pytest.raises(jsonschema.ValidationError):
        validate(unfinished)


def test_times_are_utc_with_milliseconds_and_z() -> None:
    summer = timezone(timedelta(hours=2))
    assert payloads.timestamp(datetime(2024, 6, 1, 1, 30, 0, 999_999, summer)) == "2024-05-31T23:30:00.999Z"
    assert payloads.timestamp(datetime(2024, 6, 1, tzinfo=timezone.utc)) == "2024-06-01T00:00:00.000Z"


def test_a_clock_that_was_set_since_the_first_sight_does_not_tear_the_times_apart() -> None:
    """A unit without a battery for its clock starts in 1970, sees a dog, and then hears a time server."""
    young = Instant(datetime(1970, 1, 1, 0, 0, 10, tzinfo=timezone.utc), at(0.25).monotonic_ns)
    frame_time = replace(at(1.5), is_synchronised=True)
    event = event_of((1, 2, 3, 4))
    track = replace(event.track, first_seen=young, last_seen=frame_time)
    payload = payloads.event(replace(event, track=track, frame_time=frame_time), UNIT, BUNDLE)
    assert (payload["clock"], payload["first_seen"]) == ("synchronised", "2024-05-01T22:00:00.250Z")
    assert payload["last_seen"] == payload["frame"]["time_utc"] == "2024-05-01T22:00:01.500Z"


@pytest.mark.parametrize(("known", "word"), [(True, "synchronised"), (False, "unsynchronised")])
def test_health_tells_of_the_clock(known: bool, word: str) -> None:
    payload = payloads.health(replace(report(), at=replace(at(60), is_synchronised=known)), UNIT)
    validate(payload)
    assert payload["clock"] == word


def test_the_event_id_depends_on_the_event_alone() -> None:
    event = event_of((1, 2, 3, 4))
    identity = payloads.event(event, UNIT, BUNDLE)["event_id"]
    assert payloads.event(event, UNIT, BUNDLE)["event_id"] == identity
    for other in (replace(event, frame_seq=43), replace(event, kind=EventKind.LEAVE)):
        assert payloads.event(other, UNIT, BUNDLE)["event_id"] != identity


@pytest.mark.parametrize(
    "progress",
    [
        BuildProgress(state="waiting", detail="another build"),
        BuildProgress(state="building", model="colorizer", precision="int8", detail="Timing graph nodes", percent=42),
    ],
)
def test_the_renewal_of_engines(progress: BuildProgress) -> None:
    message = payloads.engines(progress, UNIT, at(1.5))
    validate(message)
    assert message["unit"] == UNIT
    assert {key: message[key] for key in progress.model_dump()} == progress.model_dump()
