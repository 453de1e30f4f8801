"""What is sent next, without a broker and without a disk."""

from __future__ import annotations

import json
import math

import pytest

from edge.telemetry import outbox as outbox_module
from edge.telemetry.backlog import Backlog
from edge.telemetry.outbox import Message, Outbox

HEALTH = "tapetum/unit-1/health"
FAREWELL = Message("tapetum/unit-1/status", b"offline", retain=True)


def filled(events: int, rate_hz: float = math.inf) -> Outbox:
    """Events in memory, as on a unit whose disk takes nothing."""
    backlog = Backlog(1000)
    backlog.trouble = "no disk"
    for number in range(events):
        backlog.put("update", b'{"n":%d}' % number)
    return Outbox("tapetum/unit-1", backlog, rate_hz)


def health(number: int) -> Message:
    return Message(HEALTH, b'{"n":%d}' % number)


def send(box: Outbox, count: int) -> list[tuple[str, int]]:
    """Send so many, with the packet identifiers 100, 101, ... Returns the end of each topic, and the number."""
    sent = []
    for key in range(100, 100 + count):
        message = box.take()
        assert message is not None
        box.sent(key, message)
        sent.append((message.topic.split("/")[-1], json.loads(message.payload)["n"]))
    return sent


def test_state_goes_before_events_and_only_the_newest_of_it() -> None:
    box = filled(2)
    for number in range(10):
        box.put(health(number))
    assert len(box) == 3
    assert send(box, 3) == [("health", 9), ("update", 0), ("update", 1)]
    assert box.take() is None


def test_what_is_not_acknowledged_waits_again_in_its_order() -> None:
    box = filled(4)
    box.put(health(1))
    send(box, 4)
    assert box.acknowledge(101) is not None
    assert (len(box), box.in_flight) == (4, 3)
    box.rewind()
    assert (len(box), box.in_flight) == (4, 0)
    assert send(box, 4) == [("health", 1), ("update", 1), ("update", 2), ("update", 3)]


def test_a_newer_state_stays_when_the_line_breaks() -> None:
    box = filled(0)
    box.put(health(1))
    send(box, 1)
    box.put(health(2))
    box.rewind()
    assert send(box, 1) == [("health", 2)]
    assert box.take() is None


def answer(number: int, *, is_picture: bool = False) -> Message:
    return Message("tapetum/unit-1/ack", b'{"n":%d}' % number, is_answer=True, is_picture=is_picture)


def test_answers_go_in_their_order_behind_state_and_before_events() -> None:
    box = filled(1)
    for number in range(3):
        box.put_answer(answer(number))
    box.put(health(9))
    assert len(box) == 5
    assert send(box, 5) == [("health", 9), ("ack", 0), ("ack", 1), ("ack", 2), ("update", 0)]


def test_answers_wait_again_when_the_line_breaks_and_pictures_are_lost() -> None:
    box = filled(0)
    for number in range(6):
        box.put_answer(answer(number, is_picture=number % 2 == 1))
    send(box, 4)
    box.acknowledge(100)
    box.rewind()
    assert len(box) == 2
    assert send(box, 2) == [("ack", 2), ("ack", 4)]


def test_of_too_many_answers_the_oldest_go() -> None:
    box = filled(0)
    for number in range(outbox_module.MAX_ANSWERS + 2):
        box.put_answer(answer(number))
    assert len(box) == outbox_module.MAX_ANSWERS
    assert send(box, 1) == [("ack", 2)]


def test_the_farewell_is_last() -> None:
    box = filled(2)
    box.put_last(FAREWELL)
    box.put(health(1))
    send(box, 3)
    assert box.take() is None, "the others have no answer yet"
    for key in (100, 101, 102):
        box.acknowledge(key)
    assert len(box) == 1
    assert box.take() == FAREWELL
    assert box.take() is None


def test_an_unknown_acknowledgement_is_nobodys() -> None:
    assert filled(1).acknowledge(7) is None


def test_the_rate_is_bounded_and_a_pause_is_made_up_for_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1000.0
    monkeypatch.setattr(outbox_module.time, "monotonic", lambda: now_s)
    box = filled(500, rate_hz=100)

    def taken() -> int:
        return sum(1 for _ in iter(box.take, None))

    assert taken() == 6  # CATCH_UP_S at this rate, and one more
    for _ in range(10):
        now_s += 0.1001
        assert 6 <= taken() <= 10
    counted = 0
    for _ in range(1000):
        now_s += 0.001
        counted += taken()
    assert 98 <= counted <= 106


def test_late_is_told_when_it_is_sent() -> None:
    box = filled(1)
    message = box.take()
    assert message is not None
    assert json.loads(message.payload) == {"n": 0, "late": False}
