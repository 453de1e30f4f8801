"""How fast a figure grows, told so that a few wild samples do not matter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MOST = 600  # samples; more are thinned to medians of equal groups, for the work grows with the square


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """The median of the slopes between all pairs of samples, in units of `values` by units of `times`.

    Theil (1950) and Sen (Journal of the American Statistical Association 63, 1968): up to 29 % of the samples may be
    arbitrarily wrong.
    """
    x, y = _thinned(times), _thinned(values)
    first, second = np.triu_indices(len(x), 1)
    return float(np.median((y[second] - y[first]) / (x[second] - x[first])))


def _thinned(values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    all_values = np.asarray(values, np.float64)
    groups = np.array_split(all_values, min(MOST, len(all_values)))
    return np.array([np.median(group) for group in groups])
