"""Colourist and detector on the CPU: OpenVINO's networks and the merge kernel."""

from __future__ import annotations

import numpy as np

from edge.kernels.base import MergeStyle
from edge.kernels.cells import cell_luma
from edge.kernels.lab_merge import cpu_kernel
from edge.sections import ColourConfig
from edge.types import Detections, Float32Array, UInt8Array
from edge.video.nv12 import from_luma
from edge.vision.base import MIN_SCORE, Colourist, Detector
from edge.vision.networks import Networks
from edge.vision.scene import ChromaSmoother


class CpuColourist(Colourist):
    """See `Colourist`."""

    def __init__(self, networks: Networks, config: ColourConfig) -> None:
        """Take over networks, of which context and colorizer are needed: `close` frees them."""
        self._networks = networks
        self._kernel = cpu_kernel()
        self._style = MergeStyle(upsampling=config.upsampling)
        self._smooth = ChromaSmoother(config.smoothing)
        self._context: Float32Array | None = None
        self._cells: UInt8Array = self._smooth.cells

    def renew_context(self, luma: UInt8Array) -> None:
        self._context = self._networks.context(luma)

    def nv12(self, luma: UInt8Array) -> UInt8Array:
        if self._context is None:
            raise ValueError("renew_context comes first")
        ab = self._networks.colour(luma, self._context)
        if not np.isfinite(ab).all():
            self.grey_frames += 1
            self.forget()
            self._cells = cell_luma(luma, (ab.shape[1], ab.shape[2]))
            return from_luma(luma)
        smooth = self._smooth(luma, ab)
        self._cells = self._smooth.cells
        return self._kernel.nv12(luma, smooth, style=self._style)

    def grey(self, luma: UInt8Array) -> UInt8Array:
        return from_luma(luma)

    @property
    def cells(self) -> UInt8Array:
        return self._cells

    def forget(self) -> None:
        self._smooth.forget()

    def close(self) -> None:
        self._networks.close()


class CpuDetector(Detector):
    """See `Detector`."""

    def __init__(self, networks: Networks) -> None:
        """Take over networks, of which the recognizer is needed: `close` frees them."""
        self._networks = networks
        self.labels = networks.labels

    def detect(self, luma: UInt8Array, min_score: float = MIN_SCORE) -> Detections:
        return self._networks.detect(luma, min_score)

    def close(self) -> None:
        self._networks.close()
