"""What range of each tensor INT8 covers, found by running a network on real inputs.

All ranges are symmetric, -limit..limit, so only magnitudes count. Three ways to find a limit: `minmax` takes the
largest magnitude, `percentile` the one that 99.99 % of those over zero do not exceed, `entropy` the one that changes
their distribution least.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

Feed = Mapping[str, npt.NDArray[np.float32]]
Method = Literal["minmax", "entropy", "percentile"]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

LEVELS = 128  # magnitudes that int8 tells apart
BINS = 2048
SHARE = 0.9999  # of the values that `percentile` covers
STEP = 4  # bins between the limits that `entropy` compares


class Magnitudes(Protocol):
    """The magnitudes of one tensor, over any number of arrays."""

    def add(self, values: Float32Array) -> None:
        """Take in an array of any shape."""

    def limit(self) -> float:
        """The magnitude that int8's 127 will stand for; 0 where only zeros were seen; NaN and infinity stay."""


class Largest:
    """`minmax`."""

    def __init__(self) -> None:
        self._largest = 0.0

    def add(self, values: Float32Array) -> None:
        largest = np.maximum(values.max(initial=0.0), -values.min(initial=0.0))
        self._largest = float(np.maximum(self._largest, largest))  # unlike max() it lets NaN through

    def limit(self) -> float:
        return self._largest


class Histogram:
    """`percentile` and `entropy`. It widens as larger values come."""

    def __init__(self, method: Method) -> None:
        self._method = method
        self._largest = Largest()
        self._counts = np.zeros(BINS, np.int64)
        self._top = 0.0  # upper edge of the last bin

    def add(self, values: Float32Array) -> None:
        self._largest.add(values)
        largest = self._largest.limit()
        if not 0 < largest < np.inf:
            return
        self._top = self._top or largest
        while largest > self._top:  # two bins become one, so that nothing counted before is lost
            self._counts = np.concatenate([self._counts.reshape(-1, 2).sum(axis=1), np.zeros(BINS // 2, np.int64)])
            self._top *= 2
        index = (np.abs(values).ravel() * np.float32(BINS / self._top)).astype(np.int32)
        self._counts += np.bincount(np.minimum(index, BINS - 1), minlength=BINS)

    def limit(self) -> float:
        largest = self._largest.limit()
        if not 0 < largest < np.inf:
            return largest
        counts = self._counts.astype(np.float64)
        counts[0] = 0.0  # zeros and what is next to zero: every limit represents them
        bins = _covering(counts) if self._method == "percentile" else _least_divergent(counts)
        return min(largest, bins * self._top / BINS)


def _covering(counts: Float64Array) -> int:
    """Number of bins that hold SHARE of the values."""
    total = counts.sum()
    return int(np.searchsorted(np.cumsum(counts), SHARE * total)) + 1 if total else BINS


def _least_divergent(counts: Float64Array) -> int:
    """Number of bins to keep so that the Kullback-Leibler divergence of what INT8 makes of them is least.

    Migacz, "8-bit Inference with TensorRT", GPU Technology Conference 2017.
    """
    if not counts.any():
        return BINS
    return min(range(LEVELS, BINS + 1, STEP), key=lambda bins: _divergence(counts, bins))


def _divergence(counts: Float64Array, bins: int) -> float:
    """Of the first bins, the last of which takes in all beyond, from the same ones in `LEVELS` levels."""
    inside = counts[:bins]
    clipped = inside.copy()
    clipped[-1] += counts[bins:].sum()
    used = inside > 0
    level = np.arange(bins) * LEVELS // bins
    mass = np.bincount(level, weights=inside, minlength=LEVELS)
    width = np.bincount(level, weights=used, minlength=LEVELS)
    quantized = np.where(used, (mass / np.maximum(width, 1))[level], 0.0)
    p, q = clipped / clipped.sum(), quantized / max(quantized.sum(), 1e-12)
    there = p > 0
    return float(np.sum(p[there] * np.log(p[there] / np.maximum(q[there], 1e-12))))


def find_limits(
    model: onnx.ModelProto, tensors: Sequence[str], feeds: Iterable[Feed], method: Method = "minmax"
) -> dict[str, float]:
    """Run a graph on each feed; for each tensor named (inputs too), the magnitude that 127 will stand for."""
    inputs = {value.name for value in model.graph.input}
    inner = [name for name in tensors if name not in inputs]
    session = _watched(model, inner)
    seen: dict[str, Magnitudes] = {n: Largest() if method == "minmax" else Histogram(method) for n in tensors}
    for feed in feeds:
        values = dict(feed) | dict(zip(inner, session.run(inner, dict(feed)), strict=True))
        for name, magnitudes in seen.items():
            magnitudes.add(values[name])
    return {name: magnitudes.limit() for name, magnitudes in seen.items()}


def _watched(model: onnx.ModelProto, tensors: Sequence[str]) -> onnxruntime.InferenceSession:
    """A graph with more outputs."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    outputs = {value.name for value in model.graph.output}
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors if name not in outputs)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
