"""How much a coloured video flickers, by two measures that need no true colours.

CDC, colour distribution consistency: the Jensen-Shannon divergence between the colour histograms of frames that lie
1, 2 and 4 frames apart (Liu et al., "Temporally consistent video colorization with deep feature propagation and
self-regularization learning", 2021). Warp error: the squared difference between a frame and the next one, brought
back along the optical flow, where nothing is occluded (Lai et al., "Learning blind video temporal consistency",
2018). Both are 0 for a still picture, and both also see the camera's noise and the scene's own motion: compare with
what the grey video scores.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge.types import Float32Array, UInt8Array

STEPS = (1, 2, 4)  # of CDC, in frames
MIN_FRAMES = max(STEPS) + 1
MIN_SIDE_PX = 16  # the optical flow needs that much
Histograms = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Motion:
    """From one frame to the next: flow float32[H, W, 2] (x, y) in pixels; visible bool[H, W], seen in both."""

    flow: Float32Array
    visible: npt.NDArray[np.bool_]


def motion_between(before: UInt8Array, after: UInt8Array) -> Motion:
    """Dense optical flow (Kroeger et al., "Fast optical flow using dense inverse search", 2016) of luma uint8[H, W].

    A pixel is occluded where the flow there and back does not return to it (Sundaram et al., "Dense point
    trajectories by GPU-accelerated large displacement optical flow", 2010), or where it leaves the frame.
    """
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    nothing = np.zeros((*before.shape, 2), np.float32)  # to start from
    there = np.asarray(search.calc(before, after, nothing.copy()), np.float32)
    back = _moved(np.asarray(search.calc(after, before, nothing), np.float32), there)
    lengths = _square(there) + _square(back)
    with np.errstate(invalid="ignore"):  # NaN, where it leaves the frame, compares false
        visible = _square(there + back) <= 0.01 * lengths + 0.5
    return Motion(there, visible)


def warp_error(before: UInt8Array, after: UInt8Array, motion: Motion) -> float | None:
    """Mean squared difference (values in 0..1) of uint8[H, W, 3] along the motion; None where nothing is visible."""
    if not motion.visible.any():
        return None
    difference = _moved(after.astype(np.float32), motion.flow) - before
    return float(np.mean(difference[motion.visible] ** 2)) / 255.0**2


def colour_histograms(rgb: UInt8Array) -> Histograms:
    """Share of each of the 256 values in each channel of uint8[H, W, 3]: float64[3, 256]."""
    counts = [np.bincount(rgb[..., channel].ravel(), minlength=256) for channel in range(3)]
    return np.asarray(np.stack(counts) / (rgb.shape[0] * rgb.shape[1]), np.float64)


def divergence(p: Histograms, q: Histograms) -> float:
    """Jensen-Shannon divergence in nats (0 to ln 2) of distributions [C, 256], averaged over C."""
    return float(np.mean(_entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2))


class Flicker:
    """CDC and warp error of one video, frame after frame, in constant memory."""

    def __init__(self) -> None:
        self._histograms: deque[Histograms] = deque(maxlen=MIN_FRAMES)
        self._divergences: dict[int, list[float]] = {step: [] for step in STEPS}
        self._errors: list[float] = []
        self._before: UInt8Array | None = None

    def add(self, rgb: UInt8Array, motion: Motion | None) -> None:
        """Append a frame uint8[H, W, 3] and the motion that led to it (None for the first)."""
        self._histograms.append(colour_histograms(rgb))
        for step in STEPS:
            if len(self._histograms) > step:
                self._divergences[step].append(divergence(self._histograms[-1], self._histograms[-1 - step]))
        if self._before is not None and motion is not None:
            error = warp_error(self._before, rgb, motion)
            self._errors += [] if error is None else [error]
        self._before = rgb

    def scores(self) -> dict[str, float]:
        """`cdc` in nats and `warp_error` (squared, values in 0..1): the lower, the steadier.

        Raises:
            ValueError: fewer than MIN_FRAMES frames were added.
        """
        if not self._divergences[max(STEPS)]:
            raise ValueError(f"flicker shows in {MIN_FRAMES} frames or more")
        cdc = float(np.mean([np.mean(values) for values in self._divergences.values()]))
        return {"cdc": cdc, "warp_error": float(np.mean(self._errors)) if self._errors else 0.0}


def _moved(image: Float32Array, flow: Float32Array) -> Float32Array:
    """image(x + flow(x)), NaN outside."""
    height, width = flow.shape[:2]
    x = flow[..., 0] + np.arange(width, dtype=np.float32)
    y = flow[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    outside = (x < 0) | (x > width - 1) | (y < 0) | (y > height - 1)
    moved = np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR), np.float32)
    moved[outside] = np.nan
    return moved


def _square(vectors: Float32Array) -> Float32Array:
    return np.asarray((vectors**2).sum(axis=-1), np.float32)


def _entropy(p: Histograms) -> npt.NDArray[np.float64]:
    """Of each row, in nats."""
    logarithms = np.log(p, out=np.zeros_like(p), where=p > 0)
    return np.asarray(-(p * logarithms).sum(axis=-1))
