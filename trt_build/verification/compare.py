"""One network on two runners, frame by frame, and how far apart they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from edge.bundles.manifest import ModelName, Precision
from edge.inference.base import Array, Runner
from edge.kernels.lab_merge import lab_merge_bgr
from edge.types import Float32Array, UInt8Array
from trt_build.verification.ciede2000 import ciede2000
from trt_build.verification.limits import LIMITS, Limit
from trt_build.verification.matching import Pairs, counting, match, objects

WORST_SHOWN: Final = 4  # frames of each network
_SEEN_PX: Final = 256  # colours are compared at this size: twice that of the chroma

Arrays = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Sample:
    """One frame, uint8[H, W], and what the network is given of it."""

    path: Path
    luma: UInt8Array
    arrays: Arrays


@dataclass(frozen=True, slots=True)
class Answers:
    """What both sides made of a frame; `error` orders frames, the worst has the largest."""

    sample: Sample
    reference: Arrays
    engine: Arrays
    error: float


@dataclass(frozen=True)
class Comparison:
    """All frames of one network.

    Attributes:
        measures: name -> value; what each is, docs/build.md says.
        worst: the frames that differ most, the worst first.
    """

    model: ModelName
    precision: Precision
    frames: int
    measures: dict[str, float]
    limits: tuple[Limit, ...]
    worst: list[Answers]

    @property
    def exceeded(self) -> list[str]:
        """A line for each limit that is not kept: model, measure, value, limit."""
        return [
            f"{self.model} {self.precision}: {limit.measure} {self.measures[limit.measure]:.4g}, limit {limit}"
            for limit in self.limits
            if limit.measure in self.measures and not limit.is_kept(self.measures[limit.measure])
        ]


def verify_engine(
    model: ModelName,
    precision: Precision,
    engine: Runner,
    reference: Runner,
    samples: Iterable[Sample],
    limits: tuple[Limit, ...] | None = None,
) -> Comparison:
    """Run both on every frame and measure how far the engine is from the reference.

    A frame for which either answers with NaN or infinity counts in `not_finite` alone. Without `limits` those of the
    precision hold.
    """
    judge, not_finite, frames, worst = JUDGES[model](), 0, 0, list[Answers]()
    for sample in samples:
        frames += 1
        expected, found = _answer(reference, sample.arrays), _answer(engine, sample.arrays)
        broken = sum(int(np.count_nonzero(~np.isfinite(array))) for array in (*expected.values(), *found.values()))
        not_finite += broken
        error = float("inf") if broken else judge.add(sample, expected, found)
        worst.append(Answers(sample, expected, found, error))
        worst = sorted(worst, key=lambda answers: -answers.error)[:WORST_SHOWN]
    measures = {"not_finite": float(not_finite), **judge.measures()}
    limits = LIMITS[model][precision] if limits is None else limits
    return Comparison(model, precision, frames, measures, limits, worst)


def _answer(runner: Runner, arrays: Arrays) -> dict[str, Array]:
    """A copy: the next run may overwrite what a runner gives."""
    return {name: np.array(array) for name, array in runner.run(arrays).items()}


class Errors:
    """Absolute differences of one output, over all frames."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._parts: list[npt.NDArray[np.float32]] = []

    def add(self, expected: Array, found: Array) -> npt.NDArray[np.float32]:
        """Take in a frame's and return them, flat."""
        errors = np.abs(found.astype(np.float64) - expected).astype(np.float32).ravel()
        self._parts.append(errors)
        return errors

    def quantiles(self) -> dict[str, float]:
        """Median, 99th percentile and maximum; nothing where there was nothing to compare."""
        errors = np.concatenate([*self._parts, np.zeros(0, np.float32)])
        if not errors.size:
            return {}
        p50, p99, largest = np.quantile(errors, [0.5, 0.99, 1.0])
        return {f"{self._name}_p50": float(p50), f"{self._name}_p99": float(p99), f"{self._name}_max": float(largest)}


class _Judge(ABC):
    """What counts in one network's answers."""

    @abstractmethod
    def add(self, sample: Sample, expected: Arrays, found: Arrays) -> float:
        """Take in a frame; returns its error."""

    @abstractmethod
    def measures(self) -> dict[str, float]:
        """Over all frames; nothing where there were none."""


class _ContextJudge(_Judge):
    def __init__(self) -> None:
        self._errors = Errors("context")
        self._squares: list[float] = []

    def add(self, sample: Sample, expected: Arrays, found: Arrays) -> float:
        self._squares.append(float(np.mean(expected["context"] ** 2)))
        return float(np.mean(self._errors.add(expected["context"], found["context"])))

    def measures(self) -> dict[str, float]:
        measures = self._errors.quantiles()
        if measures:
            size = max(float(np.sqrt(np.mean(self._squares))), np.finfo(np.float32).tiny)
            measures["context_relative_p99"] = measures["context_p99"] / size
        return measures


class _ColorizerJudge(_Judge):
    def __init__(self) -> None:
        self._errors = Errors("ab")
        self._seen = Errors("ciede2000")
        self._means: list[float] = []

    def add(self, sample: Sample, expected: Arrays, found: Arrays) -> float:
        self._errors.add(expected["ab"], found["ab"])
        differences = colour_differences(sample.luma, expected["ab"][0], found["ab"][0])
        self._seen.add(np.zeros_like(differences), differences)
        self._means.append(float(differences.mean()))
        return self._means[-1]

    def measures(self) -> dict[str, float]:
        seen = self._seen.quantiles()
        return self._errors.quantiles() | ({"ciede2000_mean": float(np.mean(self._means)), **seen} if seen else {})


def colour_differences(luma: UInt8Array, expected: Float32Array, found: Float32Array) -> npt.NDArray[np.float64]:
    """CIEDE2000 of a frame merged with two chromas float32[2, h, w]: [256, 256]."""
    small = np.asarray(cv2.resize(luma, (_SEEN_PX, _SEEN_PX), interpolation=cv2.INTER_AREA), np.uint8)
    return ciede2000(_lab(small, expected), _lab(small, found))


def _lab(luma: UInt8Array, ab: Float32Array) -> Array:
    bgr = lab_merge_bgr(luma, ab).astype(np.float32) / 255
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2LAB))


class _RecognizerJudge(_Judge):
    """Objects are compared, not slots: two of nearly the same score may change places."""

    def __init__(self) -> None:
        self._boxes = Errors("boxes")
        self._scores = Errors("scores")
        self._frames = self._objects = 0
        self._matched = {50: 0, 90: 0}  # by the least IoU in percent

    def add(self, sample: Sample, expected: Arrays, found: Arrays) -> float:
        reference, engine = (objects(side["boxes"], side["scores"], side["labels"]) for side in (expected, found))
        wanted, there = counting(reference), counting(engine)
        same, exact = match(reference, engine, 0.5), match(reference, engine, 0.9)
        hits = {50: _hits(same, wanted, there), 90: _hits(exact, wanted, there)}
        for percent, count in hits.items():
            self._matched[percent] += count
        for i, j in same:  # in the exact ones no error could be large
            self._boxes.add(reference.boxes[i], engine.boxes[j])
            self._scores.add(reference.scores[i], engine.scores[j])
        self._frames += 1
        self._objects += len(wanted) + len(there)
        return float(len(wanted) + len(there) - hits[90])

    def measures(self) -> dict[str, float]:
        if not self._frames:
            return {}
        shares = {  # nothing on both sides is agreement
            f"matched_iou{percent}": hits / self._objects if self._objects else 1.0
            for percent, hits in self._matched.items()
        }
        return {"objects": float(self._objects), **shares, **self._boxes.quantiles(), **self._scores.quantiles()}


def _hits(pairs: Pairs, wanted: npt.NDArray[np.int64], there: npt.NDArray[np.int64]) -> int:
    """How many objects of both sides, by their indices, are in a pair."""
    return sum(int(i in wanted) + int(j in there) for i, j in pairs)


JUDGES: Final[dict[ModelName, type[_Judge]]] = {
    "context": _ContextJudge,
    "colorizer": _ColorizerJudge,
    "recognizer": _RecognizerJudge,
}
