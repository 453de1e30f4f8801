"""What a detector takes for what: the confusion matrix of labels and background."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.types import Detections, Float32Array, Int64Array
from training.metrics.truth import TrueImage, Truth


@dataclass(frozen=True)
class Confusion:
    """counts int64[K + 1, K + 1] by truth (row) and detection (column); the last of each is background.

    The last row counts detections of nothing, the last column objects that were missed. Detections below `min_score`
    do not count, nor does an overlap below `min_iou`.
    """

    labels: tuple[str, ...]
    counts: Int64Array
    min_score: float
    min_iou: float


def confusion(
    truth: Truth,
    found: Sequence[Detections],
    labels: Sequence[str],
    judged: Sequence[str],
    *,
    min_score: float = 0.5,
    min_iou: float = 0.5,
) -> Confusion:
    """Count pairs of objects and detections, one to one: first those of the same label, then what is left.

    An image counts only objects of labels that it has boxed completely, and only such false detections; another
    label's detection counts where it sits on such an object. A detection in a crowd is no false one.

    Args:
        found: the detections in each of the truth's images; their labels index into `labels`.
        judged: the labels of the matrix, in its order; each must be among `labels`.
    """
    row_of = {label: row for row, label in enumerate(judged)}
    rows = np.array([row_of.get(label, -1) for label in labels], np.int64)
    counts = np.zeros((len(judged) + 1, len(judged) + 1), np.int64)
    for image, detections in zip(truth.images, found, strict=True):
        sure = (detections.scores >= min_score) & (rows[detections.labels] >= 0)
        _count(counts, image, row_of, detections.boxes[sure], rows[detections.labels[sure]], min_iou)
    return Confusion(tuple(judged), counts, min_score, min_iou)


def _count(
    counts: Int64Array,
    image: TrueImage,
    row_of: Mapping[str, int],
    boxes: Float32Array,
    columns: Int64Array,
    min_iou: float,
) -> None:
    """Add one image; boxes [M, 4] are its detections, best first, and `columns` [M] their labels."""
    judged = np.array([label in row_of and label in image.labelled for label in image.labels], np.bool_)
    objects = np.flatnonzero(judged & ~image.crowd)
    rows = [row_of[image.labels[i]] for i in objects]
    overlap = _over_union(image.boxes[objects], boxes)
    pairs = _match(np.where(overlap >= min_iou, overlap, 0), np.array(rows, np.int64)[:, None] == columns)
    for row in range(len(rows)):
        counts[rows[row], columns[pairs[row]] if row in pairs else -1] += 1
    complete = {row_of[label] for label in image.labelled if label in row_of}
    crowded = (_over_detection(image.boxes[judged & image.crowd], boxes) >= min_iou).any(axis=0)
    for column in set(np.flatnonzero(~crowded).tolist()) - set(pairs.values()):
        if int(columns[column]) in complete:
            counts[-1, columns[column]] += 1


def _match(overlap: Float32Array, same: npt.NDArray[np.bool_]) -> dict[int, int]:
    """Row to column, one to one, where overlap [N, M] is above 0: pairs that are the same go first."""
    pairs = _greedy(overlap * same)
    left = overlap.copy()
    left[list(pairs)] = 0
    left[:, list(pairs.values())] = 0
    return pairs | _greedy(left)


def _greedy(overlap: Float32Array) -> dict[int, int]:
    """Each column in turn takes the free row that it overlaps most."""
    pairs: dict[int, int] = {}
    free = overlap.copy()
    for column in range(free.shape[1] if len(free) else 0):
        row = int(free[:, column].argmax())
        if free[row, column] > 0:
            pairs[row] = column
            free[row] = 0
    return pairs


def _intersection(a: Float32Array, b: Float32Array) -> Float32Array:
    """Areas [N, M] of what boxes [N, 4] and [M, 4] share."""
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    size = np.minimum(a[:, None, 2:], b[None, :, 2:]) - top_left
    return np.asarray(size.clip(0).prod(axis=-1), np.float32)


def _area(boxes: Float32Array) -> Float32Array:
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).prod(axis=-1), np.float32)


def _over_union(objects: Float32Array, detections: Float32Array) -> Float32Array:
    shared = _intersection(objects, detections)
    union = _area(objects)[:, None] + _area(detections) - shared
    return np.asarray(shared / np.maximum(union, 1e-6), np.float32)


def _over_detection(crowds: Float32Array, detections: Float32Array) -> Float32Array:
    """Share of each detection that lies in a crowd, [N, M]."""
    return np.asarray(_intersection(crowds, detections) / np.maximum(_area(detections), 1e-6), np.float32)
