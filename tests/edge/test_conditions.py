"""Conditions are told when they change, and a thread's bugs are one of them."""

from __future__ import annotations

import logging
import threading

import pytest

from edge.conditions import Condition, Conditions
from edge.rounds import Rounds
from tests.waiting import until


def test_only_changes_are_told() -> None:
    told: list[Condition] = []
    conditions = Conditions(told.append)
    conditions.report("black_picture", False, "all is well")
    assert told == []
    for detail in ("level 3", "level 4"):
        conditions.report("black_picture", True, detail)
    assert [(one.is_on, one.detail) for one in told] == [(True, "level 3")]
    assert [one.detail for one in conditions.on] == ["level 4"], "health tells the newest"
    conditions.report("black_picture", False, "level 90")
    conditions.report("black_picture", False, "level 91")
    on, off = told
    assert (off.is_on, off.detail, off.id, off.since) == (False, "level 90", on.id, on.since)
    assert off.changed.monotonic_ns >= off.since.monotonic_ns
    assert conditions.on == ()


def test_each_time_has_an_id_of_its_own() -> None:
    told: list[Condition] = []
    conditions = Conditions(told.append)
    for is_on in (True, False, True):
        conditions.report("camera_moved", is_on, "")
    assert told[0].id == told[1].id != told[2].id


def test_the_end_ends_them_all() -> None:
    told: list[Condition] = []
    with Conditions(told.append) as conditions:
        conditions.report("one", True, "")
        conditions.report("two", True, "")
    assert [(one.name, one.is_on) for one in told[2:]] == [("one", False), ("two", False)]


def test_threads_that_report_at_once_tell_each_change_once() -> None:
    told: list[Condition] = []
    conditions = Conditions(told.append)

    def flap() -> None:
        for turn in range(2000):
            conditions.report("flap", turn % 2 == 0, "")

    threads = [threading.Thread(target=flap) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    states = [one.is_on for one in told]
    assert states == [turn % 2 == 0 for turn in range(len(states))]


class TestRounds:
    def test_it_goes_until_it_is_left(self) -> None:
        done: list[int] = []
        with Rounds("pad", 0.001, {"work": lambda: done.append(1)}, Conditions(lambda _: None)):
            until(lambda: len(done) > 3)
        count = len(done)
        assert threading.Event().wait(0.05) is False
        assert len(done) == count
        assert "pad" not in [thread.name for thread in threading.enumerate()]

    def test_a_bug_stops_neither_the_others_nor_itself(self, caplog: pytest.LogCaptureFixture) -> None:
        told: list[Condition] = []
        done: list[int] = []
        bugs = [KeyError("lost"), KeyError("lost"), None]

        def fickle() -> None:
            if bugs and (bug := bugs.pop(0)):
                raise bug

        rounds = Rounds("pad", 1.0, {"fickle": fickle, "steady": lambda: done.append(1)}, Conditions(told.append))
        with caplog.at_level(logging.ERROR):
            for _ in range(3):
                rounds.go()
        assert len(done) == 3
        assert [(one.name, one.is_on, one.detail) for one in told] == [
            ("pad_failed", True, "fickle: KeyError: 'lost'"),
            ("pad_failed", False, ""),
        ]
        assert len(caplog.records) == 1 and caplog.records[0].exc_info, "the traceback, once"

    def test_its_thread_is_of_low_priority_and_no_other(self) -> None:
        import os

        seen: list[int] = []
        look = {"look": lambda: seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))}
        before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        with Rounds("pad", 0.001, look, Conditions(lambda _: None)):
            until(lambda: seen)
        assert seen[0] > before == os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
