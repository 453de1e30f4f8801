"""How times are taken, and what is told of them: trtexec's way."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

WARM_UP_S, MEASURED_S, FEWEST = 0.2, 3.0, 100

Once = Callable[[], float]  # runs once, returns its milliseconds


def series(
    once: Once, *, warm_up_s: float = WARM_UP_S, measured_s: float = MEASURED_S, fewest: int = FEWEST
) -> list[float]:
    """Milliseconds of each run, over `measured_s` seconds and `fewest` runs at least, after a warm-up.

    One run at a time: the next begins when the last has ended, as frames of a camera do.
    """
    until_s = time.monotonic() + warm_up_s
    while time.monotonic() < until_s:
        once()
    times_ms: list[float] = []
    until_s = time.monotonic() + measured_s
    while time.monotonic() < until_s or len(times_ms) < fewest:
        times_ms.append(once())
    return times_ms


def summary(times_ms: Sequence[float]) -> dict[str, Any]:
    """Median, 99th percentile and how many runs.

    `drift` is how far the medians of both halves are apart, over the median: differences below it are noise.
    """
    values = np.asarray(times_ms)
    median, p99 = np.quantile(values, [0.5, 0.99])
    first, second = (np.median(half) for half in np.array_split(values, 2))
    return {
        "median_ms": _digits(median),
        "p99_ms": _digits(p99),
        "runs": len(values),
        "drift": _digits(abs(first - second) / median),
    }


def measured(once: Once, **limits: Any) -> dict[str, Any]:
    """`summary` of `series`."""
    return summary(series(once, **limits))


def by_the_clock(work: Callable[[], Any]) -> Once:
    """Times work by the host's clock: for what waits for its result before it returns."""

    def once() -> float:
        started_ns = time.perf_counter_ns()
        work()
        return (time.perf_counter_ns() - started_ns) / 1e6

    return once


def _digits(value: Any) -> float:
    """Four digits say more than any clock knows."""
    return float(f"{float(value):.4g}")
