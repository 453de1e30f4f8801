"""How a bundle does beside another one, on the same frames: the judge of trial and probation.

The one that is judged is the subject, the one it is held against the reference. The limits are wide: they find what
is broken, on this unit and with its frames. Which of two bundles is better was measured before it was signed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

import numpy as np

from edge.tracking import overlap
from edge.types import Detections, UInt8Array

FRAMES = 20  # before anything is judged
OBJECTS = 20  # that the reference must have found before what the subject found is judged
SAME_IOU = 0.3  # boxes that overlap so are of the same object
LEAST_FOUND = 0.5  # share of the reference's objects that the subject must find, whatever it calls them
MOST_FOUND = (4.0, 4.0)  # objects a frame: so many times the reference's, and so many more
LEAST_CHROMA = 0.25  # share of the reference's mean chroma, where that has any
CHROMA = 2.0  # 8-bit levels: less is no colour
SLOWEST = (3.0, 20.0)  # time of a frame: so many times the reference's, and so many ms more


@dataclass(frozen=True, slots=True)
class Pace:
    """What a frame takes, median, in ms."""

    colour_ms: float
    detect_ms: float


@dataclass(slots=True)
class Side:
    """What one of the two made of the frames so far."""

    chroma: list[float] = field(default_factory=list)
    found: list[int] = field(default_factory=list)
    colour_ms: list[float] = field(default_factory=list)
    detect_ms: list[float] = field(default_factory=list)

    @property
    def pace(self) -> Pace:
        """So far."""
        return Pace(_median(self.colour_ms), _median(self.detect_ms))

    @property
    def quickest(self) -> Pace:
        """Of a thread that gives way to all others: what a frame takes when nothing is in its way."""
        return Pace(min(self.colour_ms, default=0.0), min(self.detect_ms, default=0.0))


class Comparison:
    """Gathers what both make of each frame.

    Attributes:
        grey_frames: of the subject.
    """

    def __init__(self, score_threshold: float, *, gives_way: bool = False) -> None:
        """Gather nothing yet.

        Args:
            score_threshold: what counts as found, as in the service.
            gives_way: the subject's thread waits while others work: its quickest frame tells how fast it is.
        """
        self.reference, self.subject = Side(), Side()
        self.grey_frames = 0
        self._threshold, self._gives_way = score_threshold, gives_way
        self._agreed = 0

    def add_pictures(
        self, reference: UInt8Array, subject: UInt8Array, reference_ms: float, subject_ms: float
    ) -> None:
        """Both NV12 pictures of one frame, uint8[H * 3 // 2, W], and the time each took."""
        for side, nv12, took_ms in ((self.reference, reference, reference_ms), (self.subject, subject, subject_ms)):
            side.chroma.append(mean_chroma(nv12))
            side.colour_ms.append(took_ms)

    def add_detections(
        self, reference: Detections, subject: Detections, reference_ms: float, subject_ms: float
    ) -> None:
        """What both found in one frame, and the time each took."""
        ours, theirs = (found.boxes[found.scores >= self._threshold] for found in (subject, reference))
        if len(ours) and len(theirs):
            self._agreed += int((overlap(theirs, ours).max(axis=1) >= SAME_IOU).sum())
        for side, boxes, took_ms in ((self.reference, theirs, reference_ms), (self.subject, ours, subject_ms)):
            side.found.append(len(boxes))
            side.detect_ms.append(took_ms)

    @property
    def frames(self) -> int:
        """That both were coloured and searched by both."""
        return min(len(self.subject.chroma), len(self.subject.found))

    @property
    def has_objects(self) -> bool:
        """Whether enough was seen to judge what the subject finds."""
        return sum(self.reference.found) >= OBJECTS

    def trouble(self) -> str:
        """What is wrong with the subject, in one line; empty as long as nothing is known to be."""
        if self.grey_frames:
            return f"{self.grey_frames} frames were grey: its colorizer gives values that are not finite"
        return (self._too_slow() or self._colourless() or self._blind()) if self.frames >= FRAMES else ""

    def __str__(self) -> str:
        ours, theirs = self._paces()
        return (
            f"{self.frames} frames: found {self._agreed} of the {sum(self.reference.found)} objects that the other "
            f"found; colour in {ours.colour_ms:.1f} ms (the other {theirs.colour_ms:.1f}), detection in "
            f"{ours.detect_ms:.1f} ms ({theirs.detect_ms:.1f})"
        )

    def _paces(self) -> tuple[Pace, Pace]:
        return self.subject.quickest if self._gives_way else self.subject.pace, self.reference.pace

    def _too_slow(self) -> str:
        ours, theirs = self._paces()
        for what, mine_ms, other_ms in (
            ("colour", ours.colour_ms, theirs.colour_ms),
            ("detection", ours.detect_ms, theirs.detect_ms),
        ):
            if mine_ms > SLOWEST[0] * other_ms + SLOWEST[1]:
                return f"too slow: {what} takes {mine_ms:.1f} ms, the other {other_ms:.1f}"
        return ""

    def _colourless(self) -> str:
        ours, theirs = (float(np.mean(side.chroma)) for side in (self.subject, self.reference))
        if theirs >= CHROMA and ours < LEAST_CHROMA * theirs:
            return f"hardly any colour: mean chroma {ours:.1f} levels, the other's {theirs:.1f}"
        return ""

    def _blind(self) -> str:
        there = sum(self.reference.found)
        if self.has_objects and self._agreed < LEAST_FOUND * there:
            return f"found {self._agreed} of the {there} objects that the other found"
        ours, theirs = (float(np.mean(side.found)) for side in (self.subject, self.reference))
        if ours > MOST_FOUND[0] * theirs + MOST_FOUND[1]:
            return f"found {ours:.1f} objects a frame, the other {theirs:.1f}"
        return ""


def mean_chroma(nv12: UInt8Array) -> float:
    """Mean distance of a picture's chroma from grey, in 8-bit levels; `nv12` is uint8[H * 3 // 2, W]."""
    chroma = nv12[nv12.shape[0] * 2 // 3 :]
    return float(np.abs(chroma.astype(np.int16) - 128).mean())


def _median(values: list[float]) -> float:
    return median(values) if values else 0.0
