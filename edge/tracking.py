"""From boxes in single frames to objects followed over frames.

Association in two steps as in ByteTrack (Zhang et al., ECCV 2022, algorithm 1): detections above the
threshold are matched first and may start tracks; weaker ones then keep confirmed tracks alive that would be
lost otherwise. Boxes are compared by distance-IoU (Zheng et al., AAAI 2020), which still tells near from far
where a small, fast object has left its old box. The centre moves at constant velocity, found by a g-h filter.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edge.sections import DetectConfig
from edge.types import Box, Detections, Float32Array, Instant, Track

Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

LOW_SCORE = 0.4  # share of the threshold down to which a detection may continue a track
LABEL_PENALTY = 1.0  # taken from the similarity of unlike labels: only boxes that nearly agree are one object
HIGH_GATE = -0.4  # least similarity in the first step: equal squares two widths apart
LOW_GATE = 0.0  # and in the second step, where the detection itself is doubtful: three quarters of a width
DUPLICATE_IOU = 0.7  # a box that covers a tracked object so far is the same object under another label
SAME_IOU = 0.55  # two detections that overlap so far are one object
PART_SHARE = 0.8  # and so is a detection of which so much lies inside another of its label
MAX_MISSES = 2  # updates without a match through which a track stays visible, or a new one is not given up
HORIZON_S = 1.0  # prediction ends here: an animal unseen for longer has stopped or turned as likely as not
GAINS = (0.8, 0.5)  # g (position) and h (velocity): lively, for animals that turn between two looks
VOTE_MEMORY = 0.95  # share of the older label votes that stays when a new one comes
SCORE_GAIN = 0.3  # share of the newest score in a track's score


@dataclass(eq=False, slots=True)
class _Candidate:
    """A track, confirmed or not yet, as of its last match."""

    centre: Float64Array  # [2] x, y in px
    size: Float64Array  # [2] width, height in px
    votes: Float64Array  # [labels] sums of scores
    score: float
    first_seen: Instant
    last_seen: Instant
    velocity: Float64Array = field(default_factory=lambda: np.zeros(2))  # px per second
    hits: int = 1
    misses: int = 0  # updates since the last match
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:16])

    @property
    def label(self) -> int:
        return int(self.votes.argmax())

    def unseen_s(self, at: Instant) -> float:
        return (at.monotonic_ns - self.last_seen.monotonic_ns) / 1e9

    def box_at(self, at: Instant) -> Float64Array:
        """Where the object should be at that time: [4], xyxy in px."""
        centre = self.centre + self.velocity * min(self.unseen_s(at), HORIZON_S)
        return np.concatenate([centre - self.size / 2, centre + self.size / 2])

    def match(self, box: Float64Array, label: int, score: float, at: Instant) -> None:
        """Take in a detection: one step of the g-h filter and one vote."""
        g, h = (1.0, 1.0) if self.hits == 1 else GAINS  # two points make the first velocity
        elapsed_s = max(self.unseen_s(at), 1e-3)
        predicted = self.centre + self.velocity * min(elapsed_s, HORIZON_S)
        residual = (box[:2] + box[2:]) / 2 - predicted
        self.centre = predicted + g * residual
        self.velocity = self.velocity + h * residual / elapsed_s
        self.size = self.size + g * (box[2:] - box[:2] - self.size)
        self.votes *= VOTE_MEMORY
        self.votes[label] += score
        self.score += SCORE_GAIN * (score - self.score)
        self.last_seen = at
        self.hits += 1
        self.misses = 0


class Tracker:
    """Follows the objects of one camera. Not thread-safe: one lane owns it.

    Attributes:
        score_threshold: what may start a track; it may be changed between two frames.
    """

    def __init__(self, config: DetectConfig, labels: Sequence[str]) -> None:
        self._config = config
        self.score_threshold = config.score_threshold
        self.labels = tuple(labels)
        self._candidates: list[_Candidate] = []

    def update(self, detections: Detections, at: Instant) -> list[Track]:
        """Take in what was found in the frame of time `at`; return the confirmed tracks that are visible.

        A track stays visible through a few updates without a match: its box is then the predicted one, and
        its `last_seen` stays behind `at`. Ids are unique over restarts of the service.
        """
        detections = distinct(detections)
        threshold, scores = self.score_threshold, detections.scores
        high = _select(detections, scores >= threshold)
        low = _select(detections, (scores < threshold) & (scores >= LOW_SCORE * threshold))
        for candidate in self._candidates:
            candidate.misses += 1
        unknown = _associate(self._candidates, high, HIGH_GATE, at)
        missed = [c for c in self._candidates if c.misses and self._is_confirmed(c)]
        _associate(missed, low, LOW_GATE, at)
        self._candidates = [c for c in self._candidates if not self._is_over(c, at)]
        self._start(unknown, at)
        visible = [c for c in self._candidates if self._is_confirmed(c) and c.misses <= MAX_MISSES]
        return [self._track(c, at) for c in visible]

    def clear(self) -> None:
        """Forget all tracks: the source was lost, and what comes next is another scene."""
        self._candidates.clear()

    def _start(self, detections: Detections, at: Instant) -> None:
        boxes = detections.boxes.astype(np.float64)
        for box, label, score in zip(boxes, detections.labels, detections.scores.tolist(), strict=True):
            seen = [candidate.box_at(at) for candidate in self._candidates if not candidate.misses]
            if seen and _overlap(np.stack(seen), box[None])[0].max() >= DUPLICATE_IOU:
                continue
            votes = np.zeros(len(self.labels))
            votes[label] = score
            centre, size = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
            self._candidates.append(_Candidate(centre, size, votes, score, first_seen=at, last_seen=at))

    def _is_confirmed(self, candidate: _Candidate) -> bool:
        return candidate.hits >= self._config.appear_after

    def _is_over(self, candidate: _Candidate, at: Instant) -> bool:
        if not self._is_confirmed(candidate):
            return candidate.misses > MAX_MISSES
        return candidate.misses > 0 and candidate.unseen_s(at) >= self._config.leave_after_s

    def _track(self, candidate: _Candidate, at: Instant) -> Track:
        x0, y0, x1, y1 = candidate.box_at(at).tolist()
        box: Box = (x0, y0, x1, y1)
        label = self.labels[candidate.label]
        return Track(candidate.id, label, candidate.score, box, candidate.first_seen, candidate.last_seen)


def distinct(detections: Detections) -> Detections:
    """One detection per object: the recognizer suppresses within a label, so one animal may come as cow and as horse.

    A detection goes when a better one covers it so that their IoU is SAME_IOU, or, under the same label, when most
    of it lies inside the better one: a part of the animal, found apart.
    """
    boxes = detections.boxes.astype(np.float64)
    iou, _ = _overlap(boxes, boxes)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    inside = iou / (1 + iou) * (areas[:, None] + areas) / areas.clip(1e-9)  # share of each column's box
    covers = (iou >= SAME_IOU) | ((detections.labels[:, None] == detections.labels) & (inside >= PART_SHARE))
    kept: list[int] = []
    for i in range(len(detections)):  # best first
        if not covers[kept, i].any():
            kept.append(i)
    chosen = np.zeros(len(detections), np.bool_)
    chosen[kept] = True
    return _select(detections, chosen)


def _associate(candidates: list[_Candidate], detections: Detections, gate: float, at: Instant) -> Detections:
    """Give the detections to the candidates, most similar pairs first; return those that nobody took."""
    if not candidates or not len(detections):
        return detections
    boxes, labels = detections.boxes.astype(np.float64), detections.labels
    _, similarity = _overlap(np.stack([c.box_at(at) for c in candidates]), boxes)
    similarity -= LABEL_PENALTY * (np.array([c.label for c in candidates])[:, None] != labels)
    free = np.ones(len(detections), np.bool_)
    while similarity.max() >= gate:
        row, column = np.unravel_index(similarity.argmax(), similarity.shape)
        candidates[row].match(boxes[column], int(labels[column]), float(detections.scores[column]), at)
        free[column] = False
        similarity[row, :] = similarity[:, column] = -np.inf
    return _select(detections, free)


def _select(detections: Detections, chosen: BoolArray) -> Detections:
    return Detections(detections.boxes[chosen], detections.labels[chosen], detections.scores[chosen])


def overlap(a: Float32Array, b: Float32Array) -> Float64Array:
    """IoU (0..1) of each box of a [M, 4] with each of b [N, 4], xyxy: [M, N]."""
    return _overlap(np.asarray(a, np.float64), np.asarray(b, np.float64))[0]


def _overlap(a: Float64Array, b: Float64Array) -> tuple[Float64Array, Float64Array]:
    """IoU (0..1) and distance-IoU (-1..1) of each box of a [M, 4] with each of b [N, 4], xyxy: two [M, N]."""
    a, b = a[:, None], b[None]
    inner = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    hull = np.maximum(a[..., 2:], b[..., 2:]) - np.minimum(a[..., :2], b[..., :2])
    area_a, area_b = ((box[..., 2:] - box[..., :2]).prod(-1) for box in (a, b))
    intersection = inner.clip(0).prod(-1)
    iou = intersection / (area_a + area_b - intersection).clip(1e-9)
    offset = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2
    return iou, iou - (offset**2).sum(-1) / (hull**2).sum(-1).clip(1e-9)
