"""Rates and latencies, with a clock that the test turns."""

from __future__ import annotations

import pytest

from edge import rates
from edge.rates import Meter, Rate


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(rates, "time", clock)
    return clock


def test_nothing_yet(clock: Clock) -> None:
    rate = Rate()
    meter = Meter(rate)
    clock.now_s += 10
    assert (meter.read().per_second, meter.read().p50_ms, rate.latencies_ms()) == (0, None, (None, None))
    assert (rate.began_s, rate.per_second_until(clock.now_s)) == (None, 0)


def test_a_meter_reads_what_happened_since_its_last_reading(clock: Clock) -> None:
    rate = Rate()
    rate.count(500)
    meter = Meter(rate)
    for latency_ms in range(1, 101):
        rate.count(latency_ms)
    clock.now_s += 4
    reading = meter.read()
    assert reading.per_second == 25
    assert reading.p50_ms == pytest.approx(50.5)
    assert reading.p99_ms == pytest.approx(99, abs=0.1)
    clock.now_s += 4
    silent = meter.read()
    assert (silent.per_second, silent.p50_ms, silent.p99_ms) == (0, None, None)


def test_meters_do_not_disturb_each_other(clock: Clock) -> None:
    rate = Rate()
    often, seldom = Meter(rate), Meter(rate)
    for _ in range(5):
        rate.count(1)
        clock.now_s += 1
        assert often.read().per_second == 1
    assert seldom.read().per_second == 1


def test_the_mean_rate_counts_from_the_first_frame(clock: Clock) -> None:
    rate = Rate()
    clock.now_s += 60  # the camera was away
    rate.count(1)
    assert (rate.began_s, rate.per_second_until(clock.now_s)) == (160, 0)
    for _ in range(20):
        clock.now_s += 0.5
        rate.count(1)
    assert rate.per_second_until(clock.now_s) == 2


def test_memory_is_bounded(clock: Clock) -> None:
    rate = Rate()
    meter = Meter(rate)
    for latency_ms in range(10_000):
        rate.count(latency_ms)
    assert rate.total == 10_000
    p50_ms = meter.read().p50_ms
    assert p50_ms is not None
    assert 8000 <= p50_ms <= 9500, "of the newest"
