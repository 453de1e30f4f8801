"""How far two answers to the same input are apart, and how far they may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.errors import TapetumError

TOLERANCE = 1e-3

Array = npt.NDArray[Any]


class DisagreementError(TapetumError):
    """ONNX Runtime does not compute what PyTorch computes."""


@dataclass(frozen=True)
class Difference:
    """The largest difference between two implementations of something, and its limit."""

    of: str
    largest: float
    limit: float = TOLERANCE

    def check(self) -> None:
        """Raise a DisagreementError where the limit is reached, or the difference is not a number."""
        if not self.largest < self.limit:
            raise DisagreementError(
                f"{self.of}: ONNX Runtime differs from PyTorch by {self.largest:.2g} (limit {self.limit:g}): "
                "report it with the versions of torch and onnxruntime"
            )

    def __str__(self) -> str:
        return f"{self.of}: largest difference from PyTorch {self.largest:.2g} (limit {self.limit:g})"


def largest(differences: Sequence[float]) -> float:
    """The largest; NaN if one is."""
    return float(np.max(differences))


def absolute(expected: Array, got: Array) -> float:
    """The largest difference of two arrays of one shape."""
    return float(np.abs(expected - got).max())


def relative(expected: Array, got: Array) -> float:
    """The same, as a share of the largest value where that exceeds 1: an untrained network's values may be large."""
    return absolute(expected, got) / max(1.0, float(np.abs(expected).max()))


def of_detections(expected: Sequence[Array], got: Sequence[Array], size: int) -> float:
    """The largest difference of scores slot by slot, and of each box from its nearest namesake of the same score.

    Slots are not compared box by box: two detections whose scores tie may change places.

    Args:
        expected, got: boxes float32[1, N, 4], scores float32[1, N], labels int64[1, N].
        size: side of the input in pixels, of which boxes' differences are shares.
    """
    boxes, scores, labels = (a[0] for a in expected)
    other_boxes, other_scores, other_labels = (a[0] for a in got)
    differences = [absolute(scores, other_scores)]
    for box, score, label in zip(boxes[scores > 0], scores[scores > 0], labels[scores > 0], strict=True):
        same = (other_labels == label) & (np.abs(other_scores - score) < TOLERANCE)
        distance = np.abs(other_boxes[same] - box).max(axis=1, initial=0.0) / size
        differences.append(float(distance.min(initial=np.inf)))
    return largest(differences)


def of_box_sets(expected: Array, got: Array, size: int) -> float:
    """The distance, as a share of `size`, that 99 of 100 boxes [N, 4] keep at most from the nearest of the other set.

    One in a hundred may differ: where the overlap of two boxes is suppression's threshold to the last bit, either may
    go. Their order does not matter.
    """
    distances = np.abs(expected[:, None] - got[None]).max(axis=2) / size
    nearest = np.concatenate([distances.min(axis=0), distances.min(axis=1)])
    return float(np.quantile(nearest, 0.99, method="higher"))
