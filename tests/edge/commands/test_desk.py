"""The desk: one after the other, each answered once, and no message, bug or slow command does harm."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.commands import desk as desk_module
from edge.commands.desk import REFUSALS, WAITING, CommandDesk
from edge.commands.gate import FILE, Gate
from edge.commands.parse import Command
from edge.errors import InputError, RefusedError
from edge.sections import CommandsConfig
from edge.telemetry import payloads
from edge.telemetry.line import Arrival
from edge.telemetry.outbox import encoded
from edge.telemetry.payloads import Answer
from edge.types import Instant
from tests.waiting import until


def arrival(id: str, name: str = "self-test", *, is_retained: bool = False, expiry_s: int | None = None) -> Arrival:
    return Arrival(f"tapetum/unit-1/cmd/{name}", json.dumps({"id": id}).encode(), is_retained, expiry_s)


class Work:
    """What a command does: nothing, until somebody wants more of it. Remembers what came."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.threads: set[str] = set()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.then: Callable[[], Answer] = lambda: Answer("done")

    def __call__(self, command: Command) -> Answer:
        self.done.append(command.id)
        self.threads.add(threading.current_thread().name)
        assert self.may_go_on.wait(20)
        return self.then()


@contextmanager
def opened(folder: Path, work: Work, max_per_minute: int = 600) -> Iterator[tuple[CommandDesk, list[Answer]]]:
    answers: list[Answer] = []
    gate = Gate(CommandsConfig(enabled=True, max_per_minute=max_per_minute), folder)
    with CommandDesk(gate, work, answers.append) as desk:
        yield desk, answers


def test_commands_are_carried_out_in_order_by_one_thread(tmp_path: Path) -> None:
    work = Work()
    with opened(tmp_path, work) as (desk, answers):
        for number in range(WAITING):
            desk.take(arrival(f"n{number}"))
        until(lambda: len(answers) == WAITING)
    assert work.done == [f"n{number}" for number in range(WAITING)]
    assert work.threads == {"commands"}
    assert answers == [Answer("done", "", "self-test", f"n{number}") for number in range(WAITING)]


@pytest.mark.parametrize(
    ("error", "result", "reason"),
    [
        (RefusedError("not now"), "refused", "not now"),
        (InputError("the camera\nis gone"), "failed", "the camera?is gone"),
        (ZeroDivisionError("secret"), "failed", "a bug (ZeroDivisionError): see the unit's log"),
    ],
)
def test_what_goes_wrong_is_answered_and_the_next_one_is_carried_out(
    error: Exception, result: str, reason: str, tmp_path: Path
) -> None:
    work = Work()

    def fail() -> Answer:
        raise error

    work.then = fail
    with opened(tmp_path, work) as (desk, answers):
        desk.take(arrival("a"))
        until(lambda: answers)
        work.then = lambda: Answer("started")
        desk.take(arrival("b"))
        until(lambda: len(answers) == 2)
    assert (answers[0].id, answers[0].result, answers[0].reason) == ("a", result, reason)
    assert (answers[1].id, answers[1].result) == ("b", "started")


def test_repeats_and_retained_are_refused_at_once(tmp_path: Path) -> None:
    with opened(tmp_path, Work()) as (desk, answers):
        desk.take(arrival("a"))
        until(lambda: answers)
        desk.take(arrival("a"))
        desk.take(arrival("b", is_retained=True))
        desk.take(arrival("c", "reboot"))
        desk.take(Arrival("tapetum/unit-1/cmd/set", b"\xff"))
        assert [(it.command, it.id, it.result) for it in answers] == [
            ("self-test", "a", "done"),
            ("self-test", "a", "refused"),
            ("self-test", "b", "refused"),
            (None, "c", "refused"),
            ("set", None, "refused"),
        ]


def test_those_who_wait_are_bounded(tmp_path: Path) -> None:
    work = Work()
    work.may_go_on.clear()
    with opened(tmp_path, work) as (desk, answers):
        desk.take(arrival("first"))
        until(lambda: work.done)
        for number in range(WAITING + 1):
            desk.take(arrival(f"n{number}"))
        assert [(it.id, it.reason) for it in answers] == [
            (f"n{WAITING}", f"{WAITING} commands wait already: ask again later")
        ]
        work.may_go_on.set()
        until(lambda: len(answers) == WAITING + 2)
        desk.take(arrival(f"n{WAITING}"))  # its id was not used up
        until(lambda: len(answers) == WAITING + 3)
        assert answers[-1].result == "done"


def test_one_that_expired_while_it_waited_is_not_carried_out(tmp_path: Path) -> None:
    work = Work()
    work.may_go_on.clear()
    with opened(tmp_path, work) as (desk, answers):
        desk.take(arrival("slow"))
        until(lambda: work.done)
        desk.take(arrival("brief", expiry_s=0))
        desk.take(arrival("long", expiry_s=3600))
        time.sleep(0.01)
        work.may_go_on.set()
        until(lambda: len(answers) == 3)
    assert work.done == ["slow", "long"]
    assert [(it.id, it.result) for it in answers] == [("slow", "done"), ("brief", "refused"), ("long", "done")]


def test_a_flood_is_answered_and_logged_in_part(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with opened(tmp_path, Work()) as (desk, answers):
        for _ in range(10 * REFUSALS):
            desk.take(Arrival("tapetum/unit-1/cmd/set", b"flood"))
        assert len(answers) == REFUSALS
        desk.take(arrival("good"))  # is heard all the same
        until(lambda: len(answers) == REFUSALS + 1)
    assert len(caplog.records) == REFUSALS + 1


def test_no_line_of_the_log_repeats_what_was_sent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    nasty = "x\n2024-05-01 INFO edge.app: all is well\x1b[2J"
    with opened(tmp_path, Work()) as (desk, _):
        desk.take(Arrival(f"tapetum/unit-1/cmd/{nasty}", json.dumps({"id": nasty}).encode()))
        desk.take(Arrival("tapetum/unit-1/cmd/set", json.dumps({"id": "a", nasty: 1, "key": nasty}).encode()))
        desk.take(Arrival("tapetum/unit-1/cmd/self-test", json.dumps({"id": nasty}).encode()))
    assert len(caplog.records) == 3
    assert all(record.getMessage().isprintable() and "all is well" not in caplog.text for record in caplog.records)


def test_the_id_is_on_disk_before_the_command_has_an_effect(tmp_path: Path) -> None:
    work, seen = Work(), []
    work.then = lambda: seen.append((tmp_path / FILE).read_text()) or Answer("done")  # type: ignore[func-returns-value]
    with opened(tmp_path, work) as (desk, answers):
        desk.take(arrival("a"))
        until(lambda: answers)
    assert seen == ["a"]


def test_a_stop_waits_for_no_command(tmp_path: Path) -> None:
    work = Work()
    work.may_go_on.clear()
    with opened(tmp_path, work) as (desk, answers):
        desk.take(arrival("slow"))
        desk.take(arrival("next"))
        until(lambda: work.done)
        started_s = time.monotonic()
    assert time.monotonic() - started_s < 5  # against 20
    desk.take(arrival("late"))
    work.may_go_on.set()
    desk._thread.join(20)
    assert work.done == ["slow"] and [it.id for it in answers] == ["slow"]


def test_a_bug_in_the_judgement_does_not_reach_the_thread_that_brought_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path, Work()) as (desk, answers):
        with monkeypatch.context() as patched:
            patched.setattr(desk_module, "parse_command", lambda *_: 1 // 0)
            desk.take(arrival("a"))
        assert "lost to a bug" in caplog.text
        desk.take(arrival("a"))
        until(lambda: answers)


def test_an_answer_that_cannot_be_sent_is_told_and_the_next_command_is_carried_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    work, sent = Work(), []
    gives = iter((Answer("done", data={"temperature_c": float("nan")}), Answer("done")))
    work.then = lambda: next(gives)
    gate = Gate(CommandsConfig(enabled=True), tmp_path)
    with CommandDesk(
        gate, work, lambda it: sent.append(encoded(payloads.answer(it, "unit-1", Instant.now())))
    ) as desk:
        desk.take(arrival("a"))
        desk.take(arrival("b"))
        until(lambda: len(sent) == 2)
    told = [(it["id"], it["result"], it["reason"]) for it in map(json.loads, sent)]
    assert told == [("a", "failed", "a bug (ValueError): see the unit's log"), ("b", "done", "")]
    assert "the answer to command self-test a cannot be sent" in caplog.text
