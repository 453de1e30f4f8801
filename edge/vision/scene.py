"""What stays the same from frame to frame: the scene's context vector, and colour where nothing moves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from typing import Protocol

import cv2
import numpy as np

from edge.kernels.base import ChromaState
from edge.kernels.cells import cell_luma
from edge.kernels.lab_merge import cpu_kernel
from edge.sections import ColourConfig
from edge.types import Float32Array, Instant, UInt8Array
from edge.vision.base import Colourist

_THUMBNAIL_PX = 32
_EPOCH = datetime.fromtimestamp(0, timezone.utc)


class SceneWatch:
    """Says when the context vector must be renewed: at first, on a scene change, every few seconds.

    Attributes:
        renewed_ns: when it was, by the monotonic clock of the frames; None before the first.
    """

    def __init__(self, config: ColourConfig) -> None:
        self._config = config
        self._thumbnail: Float32Array | None = None
        self.renewed_ns: int | None = None

    def picture(
        self, colourist: Colourist, luma: UInt8Array, at: Instant, interval_factor: float = 1.0
    ) -> UInt8Array:
        """The NV12 of a frame uint8[H, W] of the time `at`, in the context of its scene.

        Args:
            colourist: the same one each time, or `forget` comes between.
            interval_factor: stretches the time between two looks at the same scene; a new scene does not wait.
        """
        if self.is_due(at, interval_factor):
            colourist.renew_context(luma)
        picture = colourist.nv12(luma)
        if not self.is_another(colourist.cells, at):
            return picture
        # A cut: the frame is coloured again, in its own context and without the past.
        colourist.renew_context(luma)
        colourist.forget()
        return colourist.nv12(luma)

    def forget(self) -> None:
        """Whatever comes next is due."""
        self.renewed_ns = None

    def is_due(self, at: Instant, interval_factor: float = 1.0) -> bool:
        """Whether the context is too old for a frame of the time `at`; if so, it counts as renewed with that one."""
        if self.renewed_ns is not None:
            age_s = (at.monotonic_ns - self.renewed_ns) / 1e9
            if age_s < self._config.context_interval_s * interval_factor:
                return False
        self._thumbnail, self.renewed_ns = None, at.monotonic_ns
        return True

    def is_another(self, cells: UInt8Array, at: Instant) -> bool:
        """Whether a frame shows another scene than the one whose context is in use; if so, it counts as renewed.

        Args:
            cells: the frame's luma in any number of cells, uint8[h, w].
            at: the time of the frame.
        """
        small = cv2.resize(cells, (_THUMBNAIL_PX, _THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
        thumbnail = np.asarray(small, np.float32)
        if self._thumbnail is None:  # the first frame in this context
            self._thumbnail = thumbnail
        if float(np.abs(thumbnail - self._thumbnail).mean()) / 255 < self._config.scene_change:
            return False
        self._thumbnail, self.renewed_ns = thumbnail, at.monotonic_ns
        return True


class ChromaSmoother:
    """Recursive average of ab over time, gated by motion: still places stop flickering, moving ones do not smear.

    Attributes:
        cells: mean luma of the newest frame's chroma cells, uint8[h, w].
    """

    def __init__(self, smoothing: float) -> None:
        """`smoothing` is the share of the previous chroma where nothing moves, 0 (off) to below 1."""
        self.cells: UInt8Array = np.zeros((1, 1), np.uint8)
        self._smoothing = smoothing
        self._kernel = cpu_kernel()
        self._state: ChromaState | None = None

    def __call__(self, luma: UInt8Array, ab: Float32Array) -> Float32Array:
        """Smoothed ab float32[2, h, w] of the newest frame's luma uint8[H, W] and ab float32[2, h, w]."""
        if self._smoothing == 0:
            self.cells = cell_luma(luma, (ab.shape[1], ab.shape[2]))
            return ab
        self._state = self._kernel.filter_chroma(luma, ab, self._state, self._smoothing)
        self.cells = self._state.cells
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
        at = Instant(_EPOCH, round(number / fps * 1e9))
        if scene.is_due(at):
            context = networks.context(luma)
        ab = smooth(luma, networks.colour(luma, context))
        if scene.is_another(smooth.cells, at):
            context = networks.context(luma)
            smooth.forget()
            ab = smooth(luma, networks.colour(luma, context))
        yield luma, ab
