"""Which objects of one recognizer another one found too."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from edge.inference.base import Array
from edge.types import Detections

Pairs = list[tuple[int, int]]

# The weakest detection that anything listens to by default: 0.4 of the score threshold 0.5 (edge/tracking.py).
MIN_SCORE: Final = 0.2
# Scores of one object may differ by this much; also the margin by which it may fall below MIN_SCORE on one side.
SCORE_TOLERANCE: Final = 0.1


def objects(boxes: Array, scores: Array, labels: Array) -> Detections:
    """A recognizer's slots (boxes [1, N, 4], scores [1, N], labels [1, N]) that could count, in their order."""
    kept = scores[0] >= MIN_SCORE - SCORE_TOLERANCE
    return Detections(np.array(boxes[0][kept]), np.array(labels[0][kept]), np.array(scores[0][kept]))


def match(reference: Detections, engine: Detections, min_iou: float) -> Pairs:
    """Pairs (i, j) of the same label, IoU of at least `min_iou` and like score, the best overlap first, each once."""
    alike = reference.labels[:, None] == engine.labels
    alike &= np.abs(reference.scores[:, None] - engine.scores) <= SCORE_TOLERANCE
    overlap = np.where(alike, iou(reference.boxes, engine.boxes), 0)
    pairs: Pairs = []
    while overlap.size and overlap.max() >= min_iou:
        i, j = np.unravel_index(overlap.argmax(), overlap.shape)
        pairs.append((int(i), int(j)))
        overlap[i], overlap[:, j] = 0, 0
    return pairs


def counting(detections: Detections) -> npt.NDArray[np.int64]:
    """Indices of those that reach MIN_SCORE."""
    return np.flatnonzero(detections.scores >= MIN_SCORE)


def iou(a: Array, b: Array) -> npt.NDArray[np.float64]:
    """Intersection over union of boxes [N, 4] and [M, 4] in xyxy: [N, M]; 0 for boxes without area."""
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.prod(np.clip(bottom_right - top_left, 0, None), axis=-1, dtype=np.float64)
    union = _areas(a)[:, None] + _areas(b)[None] - common
    return np.asarray(common / np.where(union > 0, union, 1), np.float64)


def _areas(boxes: Array) -> npt.NDArray[np.float64]:
    return np.asarray(np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=-1, dtype=np.float64))
