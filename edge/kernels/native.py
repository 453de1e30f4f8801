"""The merge kernel as a shared library: `lab_merge.cu`, built by the C++ compiler when the package was installed."""

from __future__ import annotations

import ctypes
import os
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import numpy as np

from edge.kernels.base import Chroma, ChromaState, MergeKernel, MergeStyle
from edge.kernels.cells import cell_luma
from edge.kernels.parameters import STRUCTS, Cells, FilterParams, MergeParams
from edge.types import Float32Array, UInt8Array


def installed_library() -> Path | None:
    """The library beside this file; none where no compiler was at hand at the installation."""
    names = (Path(__file__).with_name(f"_lab_merge{suffix}") for suffix in EXTENSION_SUFFIXES)
    return next((path for path in names if path.exists()), None)


class NativeMerge(MergeKernel):
    """Threads and vector instructions, on any CPU that the C++ compiler knows. Its calls free the GIL."""

    name = "native"

    def __init__(self, library: Path, *, threads: int = 0) -> None:
        """Load the library.

        Args:
            threads: how many work on one frame; 0: half of the cores that this process may use, one lane's share.

        Raises:
            OSError: the library does not load here, or is of another version of this package.
        """
        self._library = ctypes.CDLL(os.fspath(library))
        self._threads = threads or max(1, len(os.sched_getaffinity(0)) // 2)
        self._check_version(library)

    def run_merge(self, params: MergeParams) -> None:
        """Merge a frame; the pointers are this process's."""
        self._library.tapetum_merge(ctypes.byref(params), self._threads)

    def run_filter(self, params: FilterParams) -> None:
        """Average a frame's chroma with the last one's."""
        self._library.tapetum_filter(ctypes.byref(params))

    def _nv12(self, luma: UInt8Array, ab: Chroma, residual: Chroma | None, style: MergeStyle) -> UInt8Array:
        height, width = luma.shape[0] + luma.shape[0] % 2, luma.shape[1] + luma.shape[1] % 2
        nv12 = np.empty((height * 3 // 2, width), np.uint8)
        params = MergeParams(y=nv12.ctypes.data, cbcr=nv12[height:].ctypes.data, y_pitch=width, cbcr_pitch=width)
        self._merge(params, luma, ab, residual, style)
        return nv12

    def _bgr(self, luma: UInt8Array, ab: Chroma, residual: Chroma | None, style: MergeStyle) -> UInt8Array:
        still = np.empty((*luma.shape, 3), np.uint8)
        params = MergeParams(picture=still.ctypes.data, picture_pitch=still.strides[0], bgr=1)
        self._merge(params, luma, ab, residual, style)
        return still

    def _filter_chroma(
        self, ab: Chroma, cells: UInt8Array, previous: ChromaState | None, smoothing: float
    ) -> Float32Array:
        newest, filtered = np.ascontiguousarray(ab), np.empty(ab.shape, np.float32)
        params = FilterParams(
            ab=newest.ctypes.data,
            luma=cells.ctypes.data,
            out=filtered.ctypes.data,
            width=ab.shape[2],
            height=ab.shape[1],
            half=ab.dtype == np.float16,
            smoothing=smoothing,
        )
        if previous is not None:
            params.previous_ab, params.previous_luma = previous.ab.ctypes.data, previous.cells.ctypes.data
        self.run_filter(params)
        return filtered

    def _merge(
        self, params: MergeParams, luma: UInt8Array, ab: Chroma, residual: Chroma | None, style: MergeStyle
    ) -> None:
        rows, chroma = _rows(luma), np.ascontiguousarray(ab)
        lightness = None if residual is None else np.ascontiguousarray(residual)
        guide = cell_luma(rows, (ab.shape[1], ab.shape[2])) if style.upsampling == "guided" else None
        params.cells = Cells(
            ab=chroma.ctypes.data,
            residual=None if lightness is None else lightness.ctypes.data,
            luma=None if guide is None else guide.ctypes.data,
            width=ab.shape[2],
            height=ab.shape[1],
            half=ab.dtype == np.float16,
            guide_sigma=style.guide_sigma,
        )
        params.luma, params.luma_pitch = rows.ctypes.data, rows.strides[0]
        params.height, params.width = luma.shape
        params.bt709, params.left = style.standard == "bt709", style.siting == "left"
        self.run_merge(params)

    def _check_version(self, library: Path) -> None:
        try:
            sizes = [self._library.tapetum_params_bytes(index) for index in range(len(STRUCTS))]
        except AttributeError:
            sizes = []
        if sizes != [ctypes.sizeof(struct) for struct in STRUCTS]:
            raise OSError(f"{library} is of another version: install the package again")


def _rows(luma: UInt8Array) -> UInt8Array:
    """Luma whose pixels lie side by side in each row; the rows may lie anywhere."""
    return luma if luma.strides[1] == 1 else np.ascontiguousarray(luma)
