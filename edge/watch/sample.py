"""What the watch takes of a frame: little enough to look at once a second for nothing."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edge.types import Float32Array, Frame, UInt8Array

WIDTH_PX = 320  # of the picture that is looked at: close to what the networks see
POINTS_STEP_PX = 8
CALM_SHARE = 0.2  # of the newest picture in the calm one
CALM_NOISE = CALM_SHARE / (2 - CALM_SHARE)  # what is left of the noise's variance there
WARM = 12  # pictures after which the calm one is worth looking at
TILE_PX = 16
BRIGHT_PERCENTILE = 98


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One look at the picture.

    Attributes:
        at_s: monotonic time of the frame.
        points: every 8th pixel of the frame as it came, uint8[h, w].
        small: the frame 320 px wide, uint8[h, 320] (smaller frames at their own size).
        calm: mean of the last pictures, float32 of the same shape: noise and what walks by are all but gone; None
            for the first ones.
        brightest: level of the brightest places, the mean of a tile.
        noise_var: variance of the noise in `calm`, levels squared.
        chroma_spread: standard deviation of the frame's chroma, levels; None from a camera that sends none.
    """

    at_s: float
    points: UInt8Array
    small: UInt8Array
    brightest: float
    calm: Float32Array | None
    noise_var: float
    chroma_spread: float | None


class Sampler:
    """Makes samples of one camera's frames; another size of frame starts it anew."""

    def __init__(self) -> None:
        self._last: UInt8Array | None = None
        self._calm: Float32Array | None = None
        self._noise_var = 0.0
        self._count = 0

    def take(self, frame: Frame) -> Sample:
        small = _small(frame.luma)
        if self._last is None or self._last.shape != small.shape:
            self._calm, self._count, self._noise_var = small.astype(np.float32), 0, 0.0
        else:
            newest_var = noise_variance(self._last, small)
            self._noise_var += CALM_SHARE * (newest_var - self._noise_var) if self._count > 1 else newest_var
        assert self._calm is not None
        cv2.accumulateWeighted(small, self._calm, CALM_SHARE)
        self._last = small
        self._count += 1
        return Sample(
            at_s=frame.captured_at.monotonic_ns / 1e9,
            points=frame.luma[::POINTS_STEP_PX, ::POINTS_STEP_PX].copy(),
            small=small,
            brightest=float(np.percentile(tile_means(small.astype(np.float32)), BRIGHT_PERCENTILE)),
            calm=self._calm if self._count >= WARM else None,
            noise_var=self._noise_var * CALM_NOISE,
            chroma_spread=frame.chroma_spread,
        )


def _small(luma: UInt8Array) -> UInt8Array:
    height, width = luma.shape
    if width <= WIDTH_PX:
        return np.array(luma)
    size = (WIDTH_PX, max(1, round(height * WIDTH_PX / width)))
    return np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), np.uint8)


def noise_variance(before: UInt8Array, now: UInt8Array) -> float:
    """Variance of the noise in one of two pictures of the same scene.

    The median over tiles, as most stand still; less the tile's own change, which is the light's.
    """
    difference: Float32Array = np.asarray(cv2.subtract(now, before, dtype=cv2.CV_32F), np.float32)
    variances = tile_means(difference * difference) - tile_means(difference) ** 2
    return float(np.median(variances)) / 2


def tile_means(picture: Float32Array, tile_px: int = TILE_PX) -> Float32Array:
    """Mean of each whole tile of a picture, float32[rows, columns]."""
    rows, columns = picture.shape[0] // tile_px, picture.shape[1] // tile_px
    whole = picture[: rows * tile_px, : columns * tile_px]
    return np.asarray(cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA), np.float32)
