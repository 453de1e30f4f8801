"""Growth, told from samples of which some are wild."""

from __future__ import annotations

import numpy as np
import pytest

from tests.faults.trend import slope


def test_the_slope_of_a_line() -> None:
    times = [0.0, 1.0, 2.5, 4.0]
    assert slope(times, [3 + 2 * time for time in times]) == pytest.approx(2)


@pytest.mark.parametrize("count", [100, 5000])
def test_wild_samples_do_not_matter(count: int) -> None:
    source = np.random.default_rng(1)
    times = np.arange(count, dtype=float)
    values = 200 + 0.01 * times + source.normal(0, 0.1, count)
    values[source.random(count) < 0.15] += 500
    assert slope(times.tolist(), values.tolist()) == pytest.approx(0.01, abs=0.003)
