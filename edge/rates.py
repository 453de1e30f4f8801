"""How often and how fast: counts, rates and latencies of a lane, written by one thread and read by another."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

import numpy as np

_KEPT = 2000  # latencies: over a minute at 30 frames a second


@dataclass(frozen=True, slots=True)
class Reading:
    """What happened since the reading before: rate per second, latencies in ms (None without any)."""

    per_second: float
    p50_ms: float | None
    p99_ms: float | None


class Rate:
    """Counts frames and keeps their newest latencies."""

    def __init__(self) -> None:
        self.total = 0
        self.began_s: float | None = None  # time.monotonic() of the first
        self._latencies_ms: deque[float] = deque(maxlen=_KEPT)

    def count(self, latency_ms: float) -> None:
        """One more frame, `latency_ms` after it was captured."""
        if self.began_s is None:
            self.began_s = time.monotonic()
        self.total += 1
        self._latencies_ms.append(latency_ms)

    def per_second_until(self, now_s: float) -> float:
        """The mean rate of the frames after the first, from there to `now_s` of time.monotonic(); 0 without any."""
        return 0.0 if self.began_s is None else (self.total - 1) / max(now_s - self.began_s, 1e-6)

    def latencies_ms(self, newest: int = _KEPT) -> tuple[float | None, float | None]:
        """Median and 99th percentile of so many of the newest latencies; None without any."""
        kept = list(self._latencies_ms)
        values = kept[max(0, len(kept) - newest) :]
        if not values:
            return None, None
        p50, p99 = np.percentile(values, (50, 99))
        return float(p50), float(p99)


class Meter:
    """Reads a Rate now and then."""

    def __init__(self, rate: Rate) -> None:
        self._rate, self._total, self._at_s = rate, rate.total, time.monotonic()

    def read(self) -> Reading:
        """The rate and the latencies since the reading before."""
        now_s, total = time.monotonic(), self._rate.total
        count, elapsed_s = total - self._total, max(now_s - self._at_s, 1e-6)
        self._total, self._at_s = total, now_s
        return Reading(count / elapsed_s, *self._rate.latencies_ms(count))
