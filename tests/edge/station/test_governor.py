"""The governor on a simulated board and a simulated clock, round by round."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edge.conditions import Condition, Conditions
from edge.field_sections import GovernorConfig
from edge.limits import UNLIMITED, Limits
from edge.station.governor import Governor, Ladder
from edge.station.sensors import Sensors
from tests.edge.station.board import Board

PRESS_S, RECOVER_S = GovernorConfig().press_s, GovernorConfig().recover_s


class Unit:
    """A governor on a board; `run` lets time pass, a round each 2 s."""

    def __init__(self, root: Path, detect_max_fps: float = 5.0, **keys: float) -> None:
        self.board = Board(root)
        self.told: list[Condition] = []
        self.now_s = 1000.0
        sensors = Sensors(root)
        config, conditions = GovernorConfig(**keys), Conditions(self.told.append)
        self.governor = Governor(config, detect_max_fps, conditions, sensors, lambda: self.now_s)

    def run(self, seconds: float) -> int:
        """The level after so long."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.governor.go()
            self.now_s += 2
        return self.governor.state.level

    @property
    def limits(self) -> Limits:
        return self.governor.limits


@pytest.fixture
def unit(tmp_path: Path) -> Unit:
    return Unit(tmp_path)


def test_a_board_at_rest_is_left_alone(unit: Unit) -> None:
    assert unit.run(600) == 0
    assert (unit.limits, unit.told, unit.governor.state.reasons) == (UNLIMITED, [], ())


def test_heat_lowers_context_then_colour_then_size_and_no_more(unit: Unit) -> None:
    unit.board.heat(90)
    seen = [unit.limits]
    for _ in range(60):
        unit.run(2)
        if unit.limits != seen[-1]:
            seen.append(unit.limits)
    assert seen == [UNLIMITED, Limits(6.0), Limits(6.0, 10.0), Limits(6.0, 10.0, 0.5)]


def test_each_level_takes_its_time(unit: Unit) -> None:
    unit.board.heat(90)
    assert [unit.run(PRESS_S / 2 + 1) for _ in range(7)] == [0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("press", "reason"),
    [
        (lambda board: board.heat(85), "85.0 °C (limit 85)"),
        (lambda board: board.cool(1, 1), "throttled by cpu-throttle-alert"),
        (lambda board: board.memory(7), "7.0 % of memory available (limit 8)"),
        (lambda board: board.stall(20), "20 % of the time short of memory (limit 20)"),
        (lambda board: board.load(16), "load 4.0 a processor (limit 4)"),
        (lambda board: board.power(5000, 3000), "15.0 W (limit 12)"),
    ],
)
def test_whatever_presses_is_told_as_the_reason(tmp_path: Path, press: Callable[[Board], None], reason: str) -> None:
    unit = Unit(tmp_path, power_w=12.0)
    press(unit.board)
    assert unit.run(PRESS_S + 2) == 1
    assert unit.governor.state.reasons == (reason,)
    (on,) = unit.told
    assert (on.name, on.is_on, on.detail) == ("slowed_down", True, f"level 1 of 3 (context): {reason}")


def test_power_presses_only_where_a_limit_is_set(unit: Unit) -> None:
    unit.board.power(5000, 20_000)
    assert unit.run(60) == 0
    assert unit.governor.state.readings.power_w == 100.0


def test_a_short_peak_does_nothing(unit: Unit) -> None:
    for _ in range(20):
        unit.board.heat(90)
        assert unit.run(PRESS_S - 4) == 0
        unit.board.heat(80)
        assert unit.run(4) == 0


def test_between_the_limits_it_stays_as_it_is_and_says_why(unit: Unit) -> None:
    unit.board.heat(90)
    level = unit.run(2 * PRESS_S + 2)
    unit.board.heat(80)
    assert unit.run(10 * RECOVER_S) == level == 2
    assert unit.governor.state.reasons == ("80.0 °C (limit 85), not yet recovered",)


def test_it_recovers_level_by_level_and_the_condition_ends_with_the_last(unit: Unit) -> None:
    unit.board.heat(90)
    assert unit.run(60) == 3
    unit.board.heat(70)
    levels = [unit.run(RECOVER_S / 2) for _ in range(8)]
    assert levels == [3, 3, 2, 2, 1, 1, 0, 0]
    assert unit.limits == UNLIMITED
    assert [(one.name, one.is_on) for one in unit.told] == [("slowed_down", True), ("slowed_down", False)]
    assert unit.told[0].id == unit.told[1].id


def test_a_relapse_starts_the_recovery_anew(unit: Unit) -> None:
    unit.board.heat(90)
    assert unit.run(PRESS_S + 2) == 1
    for _ in range(5):
        unit.board.heat(70)
        unit.run(RECOVER_S - 4)
        unit.board.heat(80)
        assert unit.run(4) == 1


def test_colour_is_never_slower_than_detection_may_be(tmp_path: Path) -> None:
    unit = Unit(tmp_path, detect_max_fps=15.0)
    unit.board.heat(90)
    unit.run(60)
    assert unit.limits.colour_max_fps == 15.0


def test_switched_off_it_only_reads(tmp_path: Path) -> None:
    unit = Unit(tmp_path, enabled=False)
    unit.board.heat(120)
    assert unit.run(600) == 0
    assert unit.governor.state.readings.temperature_c == 120.0


def test_a_sensor_that_is_gone_neither_presses_nor_hinders_the_recovery(unit: Unit) -> None:
    unit.board.heat(90)
    unit.run(60)
    for file in unit.board.root.rglob("temp"):
        file.unlink()
    assert unit.run(3 * RECOVER_S + 10) == 0


def test_a_bug_in_the_sensors_is_told_and_leaves_the_level(unit: Unit, monkeypatch: pytest.MonkeyPatch) -> None:
    unit.board.heat(90)
    level = unit.run(PRESS_S + 2)
    monkeypatch.setattr(Sensors, "read", lambda _: 1 // 0)
    assert unit.run(60) == level
    monkeypatch.undo()
    unit.run(4)
    assert [(one.name, one.is_on) for one in unit.told[1:]] == [("governor_failed", True), ("governor_failed", False)]
    assert "ZeroDivisionError" in unit.told[1].detail


def test_a_ladder_without_hold_times_moves_with_each_look() -> None:
    ladder = Ladder(2, 0, 0)
    levels = []
    for pressed in (True, True, True, False, False, False):
        ladder.move(is_pressed=pressed, is_free=not pressed, now_s=1.0)
        levels.append(ladder.level)
    assert levels == [1, 2, 2, 1, 0, 0]
