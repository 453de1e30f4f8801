"""Places where the same is seen again and again: a rock that looks like a sheep, a web before the lens.

Animals move, lie down somewhere else, and differ in size; what has the same box and label for hours is part of the
scene. It is told, and not kept silent: a unit cannot know a rock from a sleeping cow, and an event that is held back
is an event lost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edge.types import Box, Track
from edge.watch.finding import Finding

SAME_IOU = 0.7  # of two boxes of one label at one place
MEMORY_S = 24 * 3600.0  # what was seen so long ago counts by 1 / e
ABSENT_S = 60.0  # unseen for so long: the next sight is a new visit
GONE_S = 2 * 3600.0  # unseen for so long: the place is no longer told
PLACES = 200  # most that are kept; of those out of sight, the ones seen least go first
BOX_SHARE = 0.05  # of the newest box in the place's
WELL_SHARE = 0.5  # of the time to be told: less of it counts as well


@dataclass(slots=True)
class Place:
    """`seen_s` and `visits` fade with time."""

    label: str
    box: Box
    last_s: float
    seen_s: float = 0.0
    visits: float = 1.0

    def fade(self, elapsed_s: float) -> None:
        share = math.exp(-elapsed_s / MEMORY_S)
        self.seen_s *= share
        self.visits *= share


class Repeats:
    """Adds up how long each label was seen in the same box."""

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._places: list[Place] = []
        self._looked_s: float | None = None

    def look(self, tracks: Sequence[Track], now_s: float) -> Finding:
        """What the tracks that are visible at `now_s` add; called about once a second."""
        elapsed_s = min(now_s - self._looked_s, ABSENT_S) if self._looked_s is not None else 0.0
        self._looked_s = now_s
        for place in self._places:
            place.fade(elapsed_s)
        for track in tracks:
            self._add(track, elapsed_s, now_s)
        self._places.sort(key=lambda place: (now_s - place.last_s < ABSENT_S, place.seen_s), reverse=True)
        del self._places[PLACES:]
        return self._finding(now_s)

    def _add(self, track: Track, elapsed_s: float, now_s: float) -> None:
        near = [place for place in self._places if place.label == track.label]
        place = max(near, key=lambda place: overlap(place.box, track.box), default=None)
        if place is None or overlap(place.box, track.box) < SAME_IOU:
            self._places.append(Place(track.label, track.box, now_s))
            return
        if now_s - place.last_s > ABSENT_S:
            place.visits += 1
        place.seen_s += elapsed_s
        place.last_s = now_s
        x0, y0, x1, y1 = (old + BOX_SHARE * (new - old) for old, new in zip(place.box, track.box, strict=True))
        place.box = (x0, y0, x1, y1)

    def _finding(self, now_s: float) -> Finding:
        present = [place for place in self._places if now_s - place.last_s < GONE_S]
        told = [place for place in present if place.seen_s >= self._after_s]
        if told:
            return Finding(True, "; ".join(_line(place) for place in told))
        lingers = any(place.seen_s >= WELL_SHARE * self._after_s for place in present)
        return Finding(None if lingers else False, "nothing is seen at one place for long")


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0..1."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inner = max(width, 0.0) * max(height, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner
    return inner / union if union > 0 else 0.0


def _line(place: Place) -> str:
    x0, y0, x1, y1 = (round(value) for value in place.box)
    seen = f"{place.seen_s / 3600:.1f} h in {max(1, round(place.visits))} visits"
    return f"{place.label} at x {x0} to {x1}, y {y0} to {y1} px: {seen}"
