"""The merge kernel in numpy and OpenCV: where no compiler was at hand at the installation.

All of it in float32 and rounded once, at the end. OpenCV's 8-bit Lab is twice as fast, but in bright, strongly
coloured frames more than one pixel in a thousand is off by over 3 levels; and its BGR-to-I420 takes one pixel of the
2x2 block instead of the mean.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt
from cv2.typing import MatLike

from edge.kernels.base import Chroma, ChromaState, MergeKernel, MergeStyle
from edge.kernels.cells import cell_luma
from edge.types import Float32Array, UInt8Array

# Rows converted at once: the float temporaries stay in the CPU's cache, and large stills in memory. Even.
_STRIP_ROWS = 64
_STILL, _MOVING = 4.0, 16.0  # luma levels: below the first nothing moves, above the second all does


def _lightness_of_grey() -> Float32Array:
    """float32[256]: CIELAB L of the sRGB grey of each 8-bit value (CIE 15, section 8.2.1; X, Y, Z cancel)."""
    value = np.arange(256) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    delta = 6 / 29
    f = np.where(linear > delta**3, np.cbrt(linear), linear / (3 * delta**2) + 4 / 29)
    return (116 * f - 16).astype(np.float32)


_LIGHTNESS = _lightness_of_grey()
_KR_KB = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}  # ITU-R BT.601-7, 2.5.1; BT.709-6, 3.2


class PortableMerge(MergeKernel):
    """Float32 images, strip by strip."""

    name = "numpy"

    def _nv12(self, luma: UInt8Array, ab: Chroma, residual: Chroma | None, style: MergeStyle) -> UInt8Array:
        height, width = luma.shape
        even_height, even_width = height + height % 2, width + width % 2
        nv12 = np.empty((even_height * 3 // 2, even_width), np.uint8)
        y = nv12[:even_height]
        cbcr = nv12[even_height:].reshape(even_height // 2, even_width // 2, 2)
        to_y, to_cbcr = _matrices(style)
        for top, bgr in self._bgr_strips(luma, ab, residual, style):
            even = _even(bgr)
            rows = even.shape[0]
            y[top : top + rows] = _rounded(cv2.transform(even, to_y))
            means = _left_means(even) if style.siting == "left" else _block_means(even)
            cbcr[top // 2 : (top + rows) // 2] = _rounded(cv2.transform(means, to_cbcr))
        return nv12

    def _bgr(self, luma: UInt8Array, ab: Chroma, residual: Chroma | None, style: MergeStyle) -> UInt8Array:
        still = np.empty((*luma.shape, 3), np.uint8)
        for top, bgr in self._bgr_strips(luma, ab, residual, style):
            still[top : top + len(bgr)] = _rounded(bgr * np.float32(255))
        return still

    def _filter_chroma(
        self, ab: Chroma, cells: UInt8Array, previous: ChromaState | None, smoothing: float
    ) -> Float32Array:
        newest = ab.astype(np.float32)
        if previous is None:
            return newest
        change = np.abs(_blurred(cells) - _blurred(previous.cells))
        motion = (change - np.float32(_STILL)) / np.float32(_MOVING - _STILL)
        keep = np.float32(smoothing) * (1 - motion.clip(0, 1))
        old = np.where((keep > 0) & np.isfinite(previous.ab), previous.ab, newest)
        return np.asarray(newest + keep * (old - newest), np.float32)

    def _bgr_strips(
        self, luma: UInt8Array, ab: Chroma, residual: Chroma | None, style: MergeStyle
    ) -> Iterator[tuple[int, Float32Array]]:
        """Yield (top row, float32[rows, W, 3] sRGB in 0..1) from the top to the bottom of the frame."""
        cells = _cells(ab, residual)
        upsample = (
            _Guided(cells, luma.shape, cell_luma(luma, (cells.shape[0], cells.shape[1])), style.guide_sigma)
            if style.upsampling == "guided"
            else _Nearest(cells, luma.shape)
        )
        for top in range(0, luma.shape[0], _STRIP_ROWS):
            strip = luma[top : top + _STRIP_ROWS]
            lab = upsample(top, strip)
            lightness = np.asarray(cv2.LUT(strip, _LIGHTNESS), np.float32)
            if residual is not None:
                lightness = (lightness + lab[..., 0]).clip(0, 100)
            cv2.insertChannel(lightness, lab, 0)
            yield top, np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2BGR), np.float32)


class _Nearest:
    """The cell under each pixel's centre."""

    def __init__(self, cells: Float32Array, size: tuple[int, ...]) -> None:
        self._rows = _nearest(size[0], cells.shape[0])
        self._wide = np.take(cells, _nearest(size[1], cells.shape[1]), axis=1)

    def __call__(self, top: int, luma: UInt8Array) -> Float32Array:
        return np.take(self._wide, self._rows[top : top + len(luma)], axis=0)


class _Guided:
    """The four cells around each pixel, weighted as `weights_of` in lab_merge.cu says."""

    def __init__(self, cells: Float32Array, size: tuple[int, ...], guide: UInt8Array, sigma: float) -> None:
        self._sigma = np.float32(sigma)
        self._rows, (*columns, self._across) = _around(size[0], cells.shape[0]), _around(size[1], cells.shape[1])
        self._wide = [np.take(cells, column, axis=1) for column in columns]
        self._guides = [np.take(guide, column, axis=1).astype(np.float32) for column in columns]

    def __call__(self, top: int, luma: UInt8Array) -> Float32Array:
        strip = slice(top, top + len(luma))
        first, second, down = (values[strip] for values in self._rows)
        level = luma.astype(np.float32)
        total, whole = np.float32(0), np.float32(0)
        for rows, row_share in ((first, 1 - down), (second, down)):
            for wide, guide, share in zip(self._wide, self._guides, (1 - self._across, self._across), strict=True):
                near = 1 / (1 + ((level - guide[rows]) / self._sigma) ** 2)
                weight = (row_share[:, None] * share * near * near).astype(np.float32)
                total = total + weight[..., None] * wide[rows]
                whole = whole + weight
        return np.asarray(total / whole[..., None], np.float32)


def _cells(ab: Chroma, residual: Chroma | None) -> Float32Array:
    """float32[h, w, 3]: residual, a, b of each cell; grey where a or b is not finite."""
    cells = np.zeros((*ab.shape[1:], 3), np.float32)
    colours = np.isfinite(ab).all(axis=0)
    cells[..., 1:] = np.where(colours, ab, 0).transpose(1, 2, 0).clip(-128, 128)
    if residual is not None:
        cells[..., 0] = np.where(np.isfinite(residual), residual, 0)
    return cells


def _nearest(pixels: int, cells: int) -> npt.NDArray[np.int64]:
    """int64[pixels]: the cell under each pixel's centre, floor((x + 1/2) * cells / pixels) in exact integers."""
    return (2 * np.arange(pixels, dtype=np.int64) + 1) * cells // (2 * pixels)


def _around(pixels: int, cells: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Float32Array]:
    """The two cells around each pixel's centre, and the share of the second."""
    place = ((np.arange(pixels) + 0.5) * cells / pixels - 0.5).clip(0, cells - 1)
    first = place.astype(np.int64)
    return first, np.minimum(first + 1, cells - 1), (place - first).astype(np.float32)


def _matrices(style: MergeStyle) -> tuple[Float32Array, Float32Array]:
    """BGR in 0..1 to 8-bit Y', and to Cb and Cr, both of limited range: rows are (b, g, r, offset)."""
    kr, kb = _KR_KB[style.standard]
    kg = 1 - kr - kb
    cb = [112, -112 * kg / (1 - kb), -112 * kr / (1 - kb), 128]
    cr = [-112 * kb / (1 - kr), -112 * kg / (1 - kr), 112, 128]
    return np.array([[219 * kb, 219 * kg, 219 * kr, 16]], np.float32), np.array([cb, cr], np.float32)


def _even(bgr: Float32Array) -> Float32Array:
    rows, columns = bgr.shape[0] % 2, bgr.shape[1] % 2
    if not rows and not columns:
        return bgr
    return np.asarray(cv2.copyMakeBorder(bgr, 0, rows, 0, columns, cv2.BORDER_REPLICATE), np.float32)


def _block_means(bgr: Float32Array) -> MatLike:
    """The mean of each 2x2 block."""
    return cv2.resize(bgr, (bgr.shape[1] // 2, bgr.shape[0] // 2), interpolation=cv2.INTER_AREA)


def _left_means(bgr: Float32Array) -> Float32Array:
    """Means about the left pixels of each 2x2 block, 1 : 2 : 1 across."""
    rows = (bgr[::2] + bgr[1::2]) / 2
    left = np.concatenate([rows[:, :1], rows[:, 1:-1:2]], axis=1)
    return np.asarray((left + 2 * rows[:, ::2] + rows[:, 1::2]) / 4, np.float32)


def _blurred(cells: UInt8Array) -> Float32Array:
    return np.asarray(cv2.blur(np.asarray(cells, np.float32), (3, 3)), np.float32)


def _rounded(values: MatLike) -> UInt8Array:
    """To uint8, rounded and saturated. The values are not negative, so that |x| changes nothing."""
    return np.asarray(cv2.convertScaleAbs(values), np.uint8)
