"""What a look at one thing finds, and how findings become a condition."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """`is_wrong` is None where it cannot be told, or lies between the limit and what counts as well again."""

    is_wrong: bool | None
    detail: str = ""


UNKNOWN = Finding(None)


def judged(value: float, *, wrong: float, well: float, detail: str) -> Finding:
    """Wrong at or beyond one limit, well at or beyond the other; which of the two is the higher one says the way."""
    way = 1 if wrong > well else -1
    if way * (value - wrong) >= 0:
        return Finding(True, detail)
    return Finding(False if way * (value - well) <= 0 else None, detail)


GAP_S = 15.0  # without a finding for so long: what was found before has nothing to do with what comes


class Latch:
    """On when the findings were wrong for `on_after_s` on end, off when they were well for `off_after_s` on end.

    A finding that is neither starts the waiting anew, and changes nothing else; so does a gap.
    """

    def __init__(self, on_after_s: float, off_after_s: float) -> None:
        self.is_on = False
        self._on_after_s, self._off_after_s = on_after_s, off_after_s
        self._since_s: float | None = None  # of the findings that speak for a change
        self._last_s = 0.0

    def update(self, is_wrong: bool | None, now_s: float) -> bool:
        """Take in a finding at `now_s`, a clock that only goes forward; return whether it is on."""
        is_gap, self._last_s = now_s - self._last_s > GAP_S, now_s
        if is_wrong is None or is_wrong == self.is_on:
            self._since_s = None
            return self.is_on
        self._since_s = now_s if self._since_s is None or is_gap else self._since_s
        if now_s - self._since_s >= (self._off_after_s if self.is_on else self._on_after_s):
            self.is_on, self._since_s = is_wrong, None
        return self.is_on
