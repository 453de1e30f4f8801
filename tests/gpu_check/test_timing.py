"""What is told of times, and floors that were worked out by hand."""

from __future__ import annotations

import time

import pytest

from tests.gpu_check.floor import board_of
from tests.gpu_check.moved import merge_bytes, merge_floor_ms
from tests.gpu_check.timing import by_the_clock, measured, series, summary


def test_summary():
    told = summary([*range(1, 101)])
    assert told == {"median_ms": 50.5, "p99_ms": 99.01, "runs": 100, "drift": 0.9901}
    assert summary([2.0] * 10)["drift"] == 0


def test_warm_up_is_not_told():
    slow_first = iter([1000.0])
    told = series(lambda: next(slow_first, 1.0), warm_up_s=0.01, measured_s=0.01)
    assert set(told) == {1.0}
    assert len(told) >= 100


def test_a_long_run_is_taken_as_often_as_asked_for():
    assert len(series(lambda: 1.0, warm_up_s=0, measured_s=0, fewest=7)) == 7


def test_the_clock_counts_milliseconds():
    told = measured(by_the_clock(lambda: time.sleep(0.002)), warm_up_s=0, measured_s=0, fewest=5)
    assert told["median_ms"] >= 2


def test_bytes_of_a_merge():
    assert merge_bytes(1280, 720) == 921_600 + 131_072 + 1_382_400
    assert merge_bytes(2, 2, cells=1, bytes_a_value=2) == 4 + 4 + 6
    assert merge_floor_ms(1280, 720, 4800) == pytest.approx(2_435_072 / 4.8e12 * 1e3)


def test_boards():
    assert board_of("NVIDIA H200").bandwidth_gb_s == 4800
    assert board_of("Orin NX 16 GB").fp16_tflops == 19
    assert board_of("Voodoo 2") is None
