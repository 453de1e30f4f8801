"""What can be wrong with the picture itself. The limits were set on real frames: see docs/station.md."""

from __future__ import annotations

import cv2
import numpy as np

from edge.types import Float32Array, UInt8Array
from edge.watch.finding import UNKNOWN, Finding, judged
from edge.watch.sample import Sample, tile_means

LEAST_PX = (96, 128)  # height and width of a picture that can be judged

CHANGED_SHARE = 0.02  # of the points: an on-screen clock changes fewer, sensor noise changes many more
LIT_POINTS = 50  # points that are neither black nor white through and through, below which nothing is told

BLACK_WRONG, BLACK_WELL = 24.0, 32.0  # level of the picture's brightest places

# Sharpness is the ratio of what is fine to what is coarse. Both come from a real lens; defocus takes the fine alone.
FINE_SIGMA_PX = 1.0  # what a blur of so much takes away
COARSE_SIGMA_PX = 2.0, 4.0  # what lies between two blurs
FINE_NOISE = 0.66  # share of white noise's variance in the fine band
SHARP_WRONG, SHARP_WELL = 0.30, 0.36
CONTRAST_WRONG, CONTRAST_WELL = 1.5, 2.0  # levels, in the coarse band: frost, dirt and fog take it
MIDDLE_SHARE = 0.5  # of the tiles, those with the most to see, are asked for sharpness

DAY_WRONG, DAY_WELL = 4.5, 3.0  # spread of chroma, levels


class Frozen:
    """The same picture again and again, to the last bit. A still scene is not: every sensor has noise."""

    def __init__(self) -> None:
        self._first: UInt8Array | None = None

    def look(self, sample: Sample) -> Finding:
        points, first = sample.points, self._first
        if first is None or first.shape != points.shape:
            self._first = points
            return UNKNOWN
        lit = (np.minimum(points, first) > 0) & (np.maximum(points, first) < 255)  # clipped ones have no noise
        if lit.sum() < LIT_POINTS:
            return UNKNOWN
        changed = float((points != first)[lit].mean())
        if changed > CHANGED_SHARE:
            self._first = points
            return Finding(False, "the picture changes again")
        return Finding(True, f"{100 * changed:.1f} % of the picture have changed")


class Black:
    """Nothing is lit: the lamp has failed, or the lens is covered."""

    def look(self, sample: Sample) -> Finding:
        detail = f"the brightest places have level {sample.brightest:.0f} of 255"
        return judged(sample.brightest, wrong=BLACK_WRONG, well=BLACK_WELL, detail=detail)


class Blurred:
    """Defocus takes the fine detail, frost and fog the contrast."""

    def look(self, sample: Sample) -> Finding:
        if sample.calm is None or not can_be_judged(sample):
            return UNKNOWN
        fine, coarse = (tile_means(band * band) for band in _bands(sample.calm))
        fine = np.maximum(fine - FINE_NOISE * sample.noise_var, 0)
        busy = coarse >= np.quantile(coarse, 1 - MIDDLE_SHARE)
        contrast = float(np.sqrt(coarse[busy].mean()))
        sharpness = float(np.sqrt(np.median(fine[busy] / np.maximum(coarse[busy], 1e-6))))
        detail = f"contrast {contrast:.1f} levels: no light, frost, dirt or fog"
        flat = judged(contrast, wrong=CONTRAST_WRONG, well=CONTRAST_WELL, detail=detail)
        if flat.is_wrong:
            return flat
        detail = f"sharpness {sharpness:.2f}: out of focus, or frost"
        soft = judged(sharpness, wrong=SHARP_WRONG, well=SHARP_WELL, detail=detail)
        return flat if soft.is_wrong is False else soft


class Daylight:
    """The camera sends colours: it has left its infrared mode."""

    def look(self, sample: Sample) -> Finding:
        spread = sample.chroma_spread
        if spread is None:
            return UNKNOWN
        detail = f"the camera's colours spread by {spread:.1f} levels"
        return judged(spread, wrong=DAY_WRONG, well=DAY_WELL, detail=detail)


def can_be_judged(sample: Sample) -> bool:
    """Whether the picture is large and bright enough to tell anything of its detail."""
    height, width = sample.small.shape
    return bool(height >= LEAST_PX[0] and width >= LEAST_PX[1] and sample.brightest >= BLACK_WELL)


def _bands(calm: Float32Array) -> tuple[Float32Array, Float32Array]:
    """The fine and the coarse part of a picture."""
    narrow, wide = (blurred(calm, sigma_px) for sigma_px in COARSE_SIGMA_PX)
    return calm - blurred(calm, FINE_SIGMA_PX), narrow - wide


def blurred(picture: Float32Array, sigma_px: float) -> Float32Array:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma_px), np.float32)
