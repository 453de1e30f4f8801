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
        self._latencies_ms: deque[float] = deque(maxlen=_KEPT)

    def count(self, latency_ms: float) -> None:
        """One more frame, `latency_ms` after it was captured."""
        self.total += 1
        self._latencies_ms.append(latency_ms)

    def latencies_ms(self) -> tuple[float | None, float | None]:
        """Median and 99th percentile of the newest latencies."""
        values = list(self._latencies_ms)
        if not values:
            return None, None
        p50, p99 = np.percentile(values, (50, 99))
        return float(p50), float(p99)


class Meter:
    """Reads a Rate now and then."""

    def __init__(self, rate: Rate) -> None:
        self._rate, self._total, self._at_s = rate, rate.total, time.monotonic()

    def read(self) -> Reading:
        """The rate since the last reading, and the newest latencies."""
        now_s, total = time.monotonic(), self._rate.total
        per_second = (total - self._total) / max(now_s - self._at_s, 1e-6)
        self._total, self._at_s = total, now_s
        return Reading(per_second, *self._rate.latencies_ms())
