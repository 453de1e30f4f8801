"""Whether somebody set the clock: the wall clock against the one that nobody sets."""

from __future__ import annotations

import time
from collections.abc import Callable

from edge.watch.finding import Finding

HOLD_S = 600.0  # for so long after the last jump it counts as news
TRIES = 5


def clocks_s() -> tuple[float, float]:
    """The clock that counts on through a suspend and is never set, and the wall clock, read at the same time."""
    best = None
    for _ in range(TRIES):  # the quickest reading: a thread may wait between the two
        before_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        wall_s = time.time()
        after_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        if best is None or after_s - before_s < best[0]:
            best = (after_s - before_s, (before_s + after_s) / 2, wall_s)
    assert best is not None
    return best[1], best[2]


class ClockJump:
    """Compares two looks: a time server that slews the clock moves it by 0.5 ms a second at most, one that sets it
    jumps."""

    def __init__(self, least_s: float, read_s: Callable[[], tuple[float, float]] = clocks_s) -> None:
        self._least_s, self._read_s = least_s, read_s
        running_s, wall_s = read_s()
        self._offset_s = wall_s - running_s
        self._jumped_s: float | None = None
        self._detail = ""

    def look(self) -> Finding:
        running_s, wall_s = self._read_s()
        jump_s = wall_s - running_s - self._offset_s
        self._offset_s = wall_s - running_s
        if abs(jump_s) >= self._least_s:
            self._jumped_s = running_s
            self._detail = f"the clock was set {'forward' if jump_s > 0 else 'back'} by {abs(jump_s):.1f} s"
        if self._jumped_s is None or running_s - self._jumped_s >= HOLD_S:
            return Finding(False, "the clock has run on evenly")
        return Finding(True, self._detail)
