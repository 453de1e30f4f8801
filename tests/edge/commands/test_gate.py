"""Repeats, retained, old and too many: what the gate lets in, now and after a restart."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from edge.commands.gate import FILE, MINUTE_S, REMEMBERED, Gate
from edge.commands.parse import SelfTest
from edge.errors import RefusedError
from edge.sections import CommandsConfig

NOON = datetime(2024, 5, 1, 12, 0, tzinfo=timezone.utc)


class Clock:
    """Seconds of the monotonic clock, moved by hand."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def gate(folder: Path, clock: Clock, **config: float) -> Gate:
    return Gate(CommandsConfig(enabled=True, **config), folder, now_s=clock, utc_now=lambda: NOON)


def let_in(gate: Gate, number: int) -> None:
    command = SelfTest(id=f"n{number}")
    gate.check(command, is_retained=False)
    gate.admit(command)


def test_an_id_is_let_in_once(tmp_path: Path, clock: Clock) -> None:
    doorman = gate(tmp_path, clock)
    let_in(doorman, 1)
    with pytest.raises(RefusedError, match="this id was here before"):
        let_in(doorman, 1)
    let_in(doorman, 2)


def test_an_id_that_was_only_looked_at_is_not_used_up(tmp_path: Path, clock: Clock) -> None:
    doorman = gate(tmp_path, clock, max_per_minute=1)
    let_in(doorman, 1)
    with pytest.raises(RefusedError, match="too many"):
        let_in(doorman, 2)
    clock.now_s += MINUTE_S
    let_in(doorman, 2)


def test_ids_are_known_after_a_restart(tmp_path: Path, clock: Clock) -> None:
    doorman = gate(tmp_path, clock)
    let_in(doorman, 1)
    doorman.save()
    with pytest.raises(RefusedError, match="this id was here before"):
        let_in(gate(tmp_path, clock), 1)
    let_in(gate(tmp_path, clock), 2)


def test_the_newest_ids_are_remembered(tmp_path: Path, clock: Clock) -> None:
    doorman = gate(tmp_path, clock, max_per_minute=600)
    for number in range(REMEMBERED + 1):
        let_in(doorman, number)
        clock.now_s += 1
    doorman.save()
    for known in (doorman, gate(tmp_path, clock)):
        let_in(known, 0)
        with pytest.raises(RefusedError, match="before"):
            let_in(known, REMEMBERED)
    assert len((tmp_path / FILE).read_text().split()) == REMEMBERED


@pytest.mark.parametrize("content", [b"", b"\x00\xff\n\n", b"a b\r\n" * 9000])
def test_a_damaged_file_keeps_nobody_out(content: bytes, tmp_path: Path, clock: Clock) -> None:
    (tmp_path / FILE).write_bytes(content)
    doorman = gate(tmp_path, clock)
    let_in(doorman, 1)
    doorman.save()
    with pytest.raises(RefusedError):
        let_in(gate(tmp_path, clock), 1)


def test_a_disk_that_takes_nothing_is_told_once(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    doorman = gate(tmp_path / "none", clock)
    for number in range(3):
        let_in(doorman, number)
        doorman.save()
    (line,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert line.endswith("No such file or directory: after a restart commands may be replayed")
    with pytest.raises(RefusedError):
        let_in(doorman, 1)


def test_retained_is_no_command(tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(RefusedError, match="retained"):
        gate(tmp_path, clock).check(SelfTest(id="a"), is_retained=True)


@pytest.mark.parametrize(("age_s", "told"), [(61, "61 s old"), (-61, "61 s ahead"), (3e6, "3000000 s old")])
def test_a_time_that_is_far_away(age_s: float, told: str, tmp_path: Path, clock: Clock) -> None:
    command = SelfTest.model_validate(
        {"id": "a", "time_utc": f"{NOON - timedelta(seconds=age_s):%Y-%m-%dT%H:%M:%SZ}"}
    )
    with pytest.raises(
        RefusedError, match=f"time_utc is {told} by the unit's clock, at most 60 s: look at both clocks"
    ):
        gate(tmp_path, clock).check(command, is_retained=False)


@pytest.mark.parametrize("age_s", [59, 0, -59])
def test_a_time_that_is_near(age_s: float, tmp_path: Path, clock: Clock) -> None:
    command = SelfTest.model_validate(
        {"id": "a", "time_utc": f"{NOON - timedelta(seconds=age_s):%Y-%m-%dT%H:%M:%SZ}"}
    )
    gate(tmp_path, clock).check(command, is_retained=False)


def test_so_many_in_any_minute(tmp_path: Path, clock: Clock) -> None:
    doorman = gate(tmp_path, clock, max_per_minute=3)
    for number in range(3):
        let_in(doorman, number)
        clock.now_s += 10
    with pytest.raises(RefusedError, match="too many commands: at most 3 in a minute"):
        let_in(doorman, 3)
    clock.now_s += MINUTE_S - 30
    let_in(doorman, 3)
    with pytest.raises(RefusedError):
        let_in(doorman, 4)
