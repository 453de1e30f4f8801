"""Tracks in, events out: once appear, now and then update, once leave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from itertools import pairwise

import numpy as np

from edge.events import EventLog
from edge.sections import DetectConfig
from edge.tracking import Tracker
from edge.types import Detections, Event, EventKind, Frame, Instant, Track

START = datetime(2024, 5, 1, 22, 0, tzinfo=timezone.utc)
LUMA = np.zeros((480, 640), np.uint8)


def at(seconds: float) -> Instant:
    return Instant(START + timedelta(seconds=seconds), 1_000_000_000 + round(seconds * 1e9))


def frame(seq: int, fps: float = 10) -> Frame:
    return Frame(seq, round(seq / fps * 1e9), at(seq / fps), LUMA)


def track(seq: int, identity: str = "a", fps: float = 10) -> Track:
    return Track(identity, "dog", 0.8, (10.0 + seq, 20, 60.0 + seq, 80), at(0), at(seq / fps))


def event_log(**config: float) -> EventLog:
    return EventLog(DetectConfig.model_validate(config))


def kinds(events: Sequence[Event]) -> list[str]:
    return [event.kind.value for event in events]


def test_appear_once_then_at_most_one_update_in_an_interval() -> None:
    log = event_log(update_interval_s=1)
    told = [(n, kind) for n in range(35) for kind in kinds(log.update([track(n)], frame(n)))]
    assert told == [(0, "appear"), (10, "update"), (20, "update"), (30, "update")]


def test_an_event_carries_its_frame() -> None:
    (event,) = event_log().update([track(7)], frame(7))
    assert event == Event(EventKind.APPEAR, track(7), 7, at(0.7), (640, 480))


def test_leave_comes_once_after_leave_after_with_the_last_true_sight() -> None:
    log = event_log(leave_after_s=2)
    log.update([track(0)], frame(0))
    log.update([track(1)], frame(1))
    told = [(n, event) for n in range(2, 40) for event in log.update([], frame(n))]
    assert [(n, event.kind) for n, event in told] == [(21, EventKind.LEAVE)]
    event = told[0][1]
    assert event.track == track(1)
    assert (event.frame_seq, event.frame_time) == (21, at(2.1))


def test_a_short_absence_is_no_leave() -> None:
    log = event_log(leave_after_s=2)
    log.update([track(0)], frame(0))
    assert [log.update([], frame(n)) for n in range(1, 15)] == [[]] * 14
    assert kinds(log.update([track(15)], frame(15))) == ["update"]


def test_a_box_that_is_only_predicted_is_no_update_and_not_the_last_sight() -> None:
    log = event_log(leave_after_s=1, update_interval_s=1)
    log.update([track(0)], frame(0))
    ghost = Track("a", "dog", 0.8, (300, 300, 400, 400), at(0), at(0))
    assert [log.update([ghost], frame(n)) for n in range(1, 15)] == [[]] * 14
    (event,) = log.update([], frame(15))
    assert (event.kind, event.track.box) == (EventKind.LEAVE, track(0).box)


def test_close_ends_all_and_nothing_twice() -> None:
    log = event_log()
    log.update([track(3, "a"), track(3, "b")], frame(3))
    closed = log.close(at(5))
    assert {event.track.id for event in closed} == {"a", "b"}
    assert all(event.kind is EventKind.LEAVE for event in closed)
    assert all((event.frame_seq, event.frame_time, event.frame_size) == (3, at(5), (640, 480)) for event in closed)
    assert log.close(at(6)) == []
    assert log.update([], frame(80)) == []


def test_close_before_any_frame() -> None:
    assert event_log().close(at(0)) == []


def test_each_track_of_the_tracker_appears_once_and_leaves_once() -> None:
    """Both parts together on blinking detections, at a rate that does not divide any interval."""
    config = DetectConfig(leave_after_s=0.7, update_interval_s=1.0)
    tracker, log = Tracker(config, ["dog"]), EventLog(config)
    generator = np.random.default_rng(5)
    told: list[Event] = []
    for n in range(400):
        chosen = generator.random(3) < (0.9 if n % 40 < 25 else 0.0)
        boxes = np.array([[x, 100, x + 60, 160] for x in (100, 300, 500)], np.float32)[chosen]
        found = Detections(boxes, np.zeros(len(boxes), np.int64), np.full(len(boxes), 0.8, np.float32))
        now = frame(n, fps=7.3)
        told += log.update(tracker.update(found, now.captured_at), now)
    told += log.close(at(400 / 7.3))
    counts = Counter((event.track.id, event.kind) for event in told)
    tracks = {event.track.id for event in told}
    assert len(tracks) == 30
    assert all(counts[identity, EventKind.APPEAR] == counts[identity, EventKind.LEAVE] == 1 for identity in tracks)
    for identity in tracks:
        own = [event for event in told if event.track.id == identity]
        assert (own[0].kind, own[-1].kind) == (EventKind.APPEAR, EventKind.LEAVE)
        moments = [event.frame_time.monotonic_ns for event in own[:-1]]
        assert all(later - sooner >= 1e9 for sooner, later in pairwise(moments))
