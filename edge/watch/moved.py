"""Whether the camera still looks where it did: the picture's structure against a reference of the same place.

What is compared is the local structure, freed of brightness and contrast, tile by tile; so lamps, dusk and what walks
through the picture change a few tiles, and a push changes them all.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edge.types import Float32Array
from edge.watch.finding import UNKNOWN, Finding, judged
from edge.watch.picture import blurred, can_be_judged
from edge.watch.sample import Sample, tile_means

TILE_PX = 40
ALIKE = 0.3  # correlation from which a tile shows what it did
LEAST_POWER = 1.0  # levels squared: a tile with less structure has nothing to compare
LEAST_TILES = 6
MOVED_SHARE, SAME_SHARE = 0.35, 0.5  # of the tiles are alike
NEWS_S = 60.0  # for so long after it was accepted a new view is told as such
LEARN_SHARE = 0.0002  # of the newest structure in the reference, per look: it follows what changes within hours


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """`detail`: the picture's band of 1 to 4 px over its local contrast, float32[h, w]; `power`: of its tiles."""

    detail: Float32Array
    power: Float32Array


def structure(calm: Float32Array) -> Structure:
    band = blurred(calm, 1.0) - blurred(calm, 4.0)
    power = blurred(band * band, 6.0)
    return Structure(np.clip(band / np.sqrt(power + 1.0), -2, 2), tile_means(power, TILE_PX))


def alike_share(reference: Structure, now: Structure) -> float | None:
    """Share of the reference's tiles, those with structure, that show the same; None where there are too few."""
    seen = (reference.power > LEAST_POWER) & (now.power > LEAST_POWER / 4)
    if seen.sum() < LEAST_TILES:
        return None
    products = (tile_means(a * b, TILE_PX) for a, b in ((reference.detail, now.detail), *_squares(reference, now)))
    both, first, second = products
    return float((both[seen] > ALIKE * np.sqrt(first[seen] * second[seen])).mean())


class Moved:
    """Learns the view at the start, and for day and infrared mode apart, for each lights other edges.

    A new view that has stood for `accept_s` is taken as the right one.
    """

    def __init__(self, accept_s: float) -> None:
        self._accept_s = accept_s
        self._views: dict[bool, Structure] = {}
        self._moved_since_s: float | None = None
        self._accepted_s = float("-inf")

    def look(self, sample: Sample, *, is_day: bool = False) -> Finding:
        """The finding in one of the camera's modes."""
        if sample.calm is None or not can_be_judged(sample):
            return UNKNOWN
        now, view = structure(sample.calm), self._views.get(is_day)
        if view is None or view.detail.shape != now.detail.shape:
            self._views[is_day] = now
            return Finding(False, "this view is the reference")
        share = alike_share(view, now)
        if share is None:
            return UNKNOWN
        if share >= MOVED_SHARE:
            self._moved_since_s = None
            self._learn(view, now, is_day)
        elif self._moved_since_s is None:
            self._moved_since_s = sample.at_s
        elif sample.at_s - self._moved_since_s >= self._accept_s:
            self._views[is_day], self._moved_since_s, self._accepted_s = now, None, sample.at_s
            share = 1.0
        detail = f"{100 * share:.0f} % of the picture are where they were"
        if share < MOVED_SHARE:
            detail += f"; {_shift(view, now)}"
        elif sample.at_s - self._accepted_s < NEWS_S:
            detail = "the new view has stood for long and is the reference now"
        return judged(share, wrong=MOVED_SHARE, well=SAME_SHARE, detail=detail)

    def _learn(self, view: Structure, now: Structure, is_day: bool) -> None:
        """Follow what grows, thaws or is built, over hours."""
        detail, power = (
            np.asarray(old + LEARN_SHARE * (new - old), np.float32)
            for old, new in ((view.detail, now.detail), (view.power, now.power))
        )
        self._views[is_day] = Structure(detail, power)


def _squares(*structures: Structure) -> list[tuple[Float32Array, Float32Array]]:
    return [(one.detail, one.detail) for one in structures]


def _shift(reference: Structure, now: Structure) -> str:
    """How far the picture was shifted, where that can be told."""
    height, width = now.detail.shape
    window = cv2.createHanningWindow((width, height), cv2.CV_32F)
    (right, down), clarity = cv2.phaseCorrelate(reference.detail, now.detail, window)
    if clarity < 0.1:
        return "how far it moved cannot be told"
    return f"shifted by {100 * right / width:+.0f} % of the width and {100 * down / height:+.0f} % of the height"
