"""What every merge kernel offers. Each implementation passes tests/contract/test_merge_kernel.py."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edge.kernels.cells import cell_luma
from edge.types import Float32Array, UInt8Array

Chroma = npt.NDArray[np.floating[Any]]  # float32 or float16


@dataclass(frozen=True, slots=True)
class MergeStyle:
    """How chroma is drawn out to the frame, and which NV12 comes out.

    upsampling: `nearest` takes the cell under the pixel's centre (the paper's); `guided` mixes the four cells around
    it, those most whose luma is the pixel's (joint bilateral upsampling, Kopf et al. 2007): colour ends at edges.
    guide_sigma: luma levels, 1 or more: a cell that differs by so much from the pixel counts a quarter.
    standard: Y'CbCr of BT.601 or BT.709, both of limited range.
    siting: Cb, Cr of a 2x2 block stand for its `centre`, or for its `left` pixels (what H.264 assumes by default).
    """

    upsampling: Literal["nearest", "guided"] = "nearest"
    guide_sigma: float = 12.0
    standard: Literal["bt601", "bt709"] = "bt601"
    siting: Literal["centre", "left"] = "centre"

    def __post_init__(self) -> None:
        if not 1 <= self.guide_sigma <= 255:
            raise ValueError(f"guide_sigma must be 1 to 255 luma levels, not {self.guide_sigma}")


@dataclass(frozen=True, slots=True, eq=False)
class ChromaState:
    """What the chroma filter keeps of a frame: ab float32[2, h, w], as shown, and the cells' luma, uint8[h, w]."""

    ab: Float32Array
    cells: UInt8Array


PAPER = MergeStyle()


class MergeKernel(ABC):
    """Luma and low-resolution chroma to one picture.

    In all methods `luma` is uint8[H, W], 0..255 full range, any strides; `ab` is float32 or float16[2, h, w], CIELAB
    a and b, any size; cells that are not finite are grey, and values beyond -128..128 are cut. `residual`,
    float[h, w] of ab's type, is added to L. Results are new arrays.
    """

    name: str

    def nv12(
        self, luma: UInt8Array, ab: Chroma, *, residual: Chroma | None = None, style: MergeStyle = PAPER
    ) -> UInt8Array:
        """One video frame: NV12, uint8[H2 * 3 // 2, W2].

        H2 and W2 are H and W made even by repeating the last row and column. Without chroma (ab = 0) Y' is the
        rounded limited-range luma and Cb = Cr = 128.

        Raises:
            ValueError: an array has another dtype or number of axes, or is empty.
        """
        _check(luma, ab, residual)
        return self._nv12(luma, ab, residual, style)

    def bgr(
        self, luma: UInt8Array, ab: Chroma, *, residual: Chroma | None = None, style: MergeStyle = PAPER
    ) -> UInt8Array:
        """One still: uint8[H, W, 3] sRGB in OpenCV's order. Without chroma it is its luma. See `nv12`."""
        _check(luma, ab, residual)
        return self._bgr(luma, ab, residual, style)

    def filter_chroma(
        self, luma: UInt8Array, ab: Chroma, previous: ChromaState | None, smoothing: float
    ) -> ChromaState:
        """Recursive average of ab over time, cell by cell: `smoothing` of the previous where nothing moves, 0 to 1.

        Nothing moves where luma, averaged over the cell and its eight neighbours, changes by less than 4 levels, and
        all does from 16 on. The first frame, and one with chroma of another size than the last, stays as it is.

        Raises:
            ValueError: as `nv12`.
        """
        _check(luma, ab, None)
        cells = cell_luma(luma, (ab.shape[1], ab.shape[2]))
        if previous is not None and previous.cells.shape != cells.shape:
            previous = None
        return ChromaState(self._filter_chroma(ab, cells, previous, smoothing), cells)

    @abstractmethod
    def _nv12(self, luma: UInt8Array, ab: Chroma, residual: Chroma | None, style: MergeStyle) -> UInt8Array:
        """`nv12` of arrays that were checked."""

    @abstractmethod
    def _bgr(self, luma: UInt8Array, ab: Chroma, residual: Chroma | None, style: MergeStyle) -> UInt8Array:
        """`bgr` of arrays that were checked."""

    @abstractmethod
    def _filter_chroma(
        self, ab: Chroma, cells: UInt8Array, previous: ChromaState | None, smoothing: float
    ) -> Float32Array:
        """`filter_chroma` of arrays that were checked, to ab."""


def _check(luma: UInt8Array, ab: Chroma, residual: Chroma | None) -> None:
    if luma.dtype != np.uint8 or luma.ndim != 2 or luma.size == 0:
        raise ValueError(f"luma must be uint8[H, W], not {luma.dtype}{list(luma.shape)}")
    if ab.dtype not in (np.float32, np.float16) or ab.ndim != 3 or ab.shape[0] != 2 or ab.size == 0:
        raise ValueError(f"ab must be float32 or float16[2, h, w], not {ab.dtype}{list(ab.shape)}")
    if residual is not None and (residual.dtype != ab.dtype or residual.shape != ab.shape[1:]):
        wanted = f"{ab.dtype}{list(ab.shape[1:])}"
        raise ValueError(f"residual must be {wanted}, as ab, not {residual.dtype}{list(residual.shape)}")
