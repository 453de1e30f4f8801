"""What stays the same from frame to frame: the scene's context vector, and colour where nothing moves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from typing import Protocol

import cv2
import numpy as np

from edge.kernels.base import ChromaState
from edge.kernels.lab_merge import cpu_kernel
from edge.sections import ColourConfig
from edge.types import Float32Array, Frame, Instant, UInt8Array

_THUMBNAIL_PX = 32
_STEP_PX = 4
_EPOCH = datetime.fromtimestamp(0, timezone.utc)


class SceneWatch:
    """Says when the context vector must be renewed: at first, on a scene change, every few seconds."""

    def __init__(self, config: ColourConfig) -> None:
        self._config = config
        self._thumbnail: Float32Array | None = None
        self._renewed_ns = 0

    def is_due(self, frame: Frame) -> bool:
        """Whether the context of this frame is to be computed; if so, it counts as done."""
        sparse = frame.luma[::_STEP_PX, ::_STEP_PX]  # enough for a thumbnail, at a sixteenth of the reading
        small = cv2.resize(sparse, (_THUMBNAIL_PX, _THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
        thumbnail = np.asarray(small, np.float32)
        age_s = (frame.captured_at.monotonic_ns - self._renewed_ns) / 1e9
        if self._thumbnail is not None and age_s < self._config.context_interval_s:
            change = float(np.abs(thumbnail - self._thumbnail).mean()) / 255
            if change < self._config.scene_change:
                return False
        self._thumbnail, self._renewed_ns = thumbnail, frame.captured_at.monotonic_ns
        return True


class ChromaSmoother:
    """Recursive average of ab over time, gated by motion: still places stop flickering, moving ones do not smear."""

    def __init__(self, smoothing: float) -> None:
        """`smoothing` is the share of the previous chroma where nothing moves, 0 (off) to below 1."""
        self._smoothing = smoothing
        self._kernel = cpu_kernel()
        self._state: ChromaState | None = None

    def __call__(self, luma: UInt8Array, ab: Float32Array) -> Float32Array:
        """Smoothed ab float32[2, h, w] of the newest frame's luma uint8[H, W] and ab float32[2, h, w]."""
        if self._smoothing == 0:
            return ab
        self._state = self._kernel.filter_chroma(luma, ab, self._state, self._smoothing)
        return self._state.ab

    def forget(self) -> None:
        """Start anew: another scene, or a source that was away."""
        self._state = None


class ColourNetworks(Protocol):
    """A context network and a colorizer: see `edge.vision.networks.Networks`."""

    def context(self, luma: UInt8Array) -> Float32Array:
        """The scene's context vector, float32[1, 1000]."""

    def colour(self, luma: UInt8Array, context: Float32Array) -> Float32Array:
        """ab, float32[2, h, w]."""


def with_chroma(
    networks: ColourNetworks, lumas: Iterable[UInt8Array], fps: float
) -> Iterator[tuple[UInt8Array, Float32Array]]:
    """The frames of a clip, each with its ab: by the rules of the live stream, on the clip's own clock."""
    config = ColourConfig()
    scene, smooth = SceneWatch(config), ChromaSmoother(config.smoothing)
    context: Float32Array = np.zeros(0, np.float32)
    for number, luma in enumerate(lumas):
        clock_ns = round(number / fps * 1e9)
        if scene.is_due(Frame(number, clock_ns, Instant(_EPOCH, clock_ns), luma)):
            context = networks.context(luma)
        yield luma, smooth(luma, networks.colour(luma, context))
