"""A clock that is set, one that is slewed, and the real one."""

from __future__ import annotations

import time

import pytest

from edge.watch.clock_jump import HOLD_S, ClockJump, clocks_s


class Clocks:
    """The running clock and the wall clock."""

    def __init__(self) -> None:
        self.running_s, self.wall_s = 10.0, 20.0

    def __call__(self) -> tuple[float, float]:
        return self.running_s, self.wall_s

    def go(self, seconds: float, wall_s: float | None = None) -> None:
        self.running_s += seconds
        self.wall_s += seconds if wall_s is None else wall_s


@pytest.mark.parametrize(
    ("set_by_s", "words"), [(1.7e9, "forward by 1700000000.0 s"), (-3600.0, "back by 3600.0 s"), (2.5, "by 2.5 s")]
)
def test_a_jump_is_told_with_its_size_and_goes_by(set_by_s: float, words: str) -> None:
    """A unit without a battery for its clock starts in 1970, and hears a time server."""
    clocks = Clocks()
    watch = ClockJump(2.0, clocks)
    clocks.go(1)
    assert watch.look().is_wrong is False
    clocks.go(1, 1 + set_by_s)
    finding = watch.look()
    assert finding.is_wrong and words in finding.detail
    clocks.go(HOLD_S - 1)
    assert watch.look() == finding
    clocks.go(1)
    assert watch.look().is_wrong is False


def test_a_clock_that_is_slewed_for_days_does_not_jump() -> None:
    clocks = Clocks()
    watch = ClockJump(2.0, clocks)
    for _ in range(100_000):
        clocks.go(1, 1.0005)
        assert not watch.look().is_wrong
    assert clocks.wall_s - clocks.running_s > 50


def test_a_round_that_comes_late_is_no_jump() -> None:
    clocks = Clocks()
    watch = ClockJump(2.0, clocks)
    clocks.go(3600)
    assert watch.look().is_wrong is False


def test_the_real_clocks_run_together() -> None:
    before, after = clocks_s(), clocks_s()
    assert after[0] >= before[0]
    assert abs((after[1] - after[0]) - (before[1] - before[0])) < 0.1
    assert before[0] <= time.clock_gettime(time.CLOCK_BOOTTIME) < before[0] + 60, "one that nobody sets"
    assert before[1] <= time.time() < before[1] + 60
