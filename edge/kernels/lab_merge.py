"""The only colour arithmetic on the CPU: luma and ab in, NV12 (or BGR) out.

For each pixel: L is the CIELAB lightness of the grey sRGB value `luma`; a and b come from the chroma cell under the
pixel's centre (nearest upsampling, as in the paper); CIELAB (D65) goes to linear sRGB, is clipped to the gamut, and
gets the sRGB curve (IEC 61966-2-1). Y'CbCr is BT.601, limited range; each Cb, Cr is the mean of its 2x2 block.

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

from edge.types import Float32Array, UInt8Array

# Rows converted at once: the float temporaries stay in the CPU's cache, and large stills in memory. Even.
_STRIP_ROWS = 64


def _lightness_of_grey() -> Float32Array:
    """float32[256]: CIELAB L of the sRGB grey of each 8-bit value (CIE 15, section 8.2.1; X, Y, Z cancel)."""
    value = np.arange(256) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    delta = 6 / 29
    f = np.where(linear > delta**3, np.cbrt(linear), linear / (3 * delta**2) + 4 / 29)
    return (116 * f - 16).astype(np.float32)


_LIGHTNESS = _lightness_of_grey()

# BGR in 0..1 to 8-bit Y'CbCr: rows are (b, g, r, offset). ITU-R BT.601-7, 2.5.1 to 2.5.4.
_KB, _KG, _KR = 0.114, 0.587, 0.299
_BGR_TO_Y = np.array([[219 * _KB, 219 * _KG, 219 * _KR, 16]], np.float32)
_BGR_TO_CBCR = np.array(
    [
        [112, -112 * _KG / (1 - _KB), -112 * _KR / (1 - _KB), 128],
        [-112 * _KB / (1 - _KR), -112 * _KG / (1 - _KR), 112, 128],
    ],
    np.float32,
)


def lab_merge(luma: UInt8Array, ab: Float32Array) -> UInt8Array:
    """Merge lightness and chroma into one video frame.

    Args:
        luma: uint8[H, W], 0..255 full range, any strides.
        ab: float32[2, h, w], CIELAB a and b, any size.

    Returns:
        NV12, uint8[H2 * 3 // 2, W2], a new array; H2 and W2 are H and W made even by repeating the last row and
        column. Without chroma (ab = 0) Y' is the rounded limited-range luma and Cb = Cr = 128.

    Raises:
        ValueError: an array has another dtype or number of axes, or is empty.
    """
    _check(luma, ab)
    height, width = luma.shape
    even_height, even_width = height + height % 2, width + width % 2
    nv12 = np.empty((even_height * 3 // 2, even_width), np.uint8)
    y = nv12[:even_height]
    cbcr = nv12[even_height:].reshape(even_height // 2, even_width // 2, 2)
    for top, bgr in _bgr_strips(luma, ab):
        even = _even(bgr)
        rows = even.shape[0]
        y[top : top + rows] = _rounded(cv2.transform(even, _BGR_TO_Y))
        means = cv2.resize(even, (even_width // 2, rows // 2), interpolation=cv2.INTER_AREA)
        cbcr[top // 2 : (top + rows) // 2] = _rounded(cv2.transform(means, _BGR_TO_CBCR))
    return nv12


def lab_merge_bgr(luma: UInt8Array, ab: Float32Array) -> UInt8Array:
    """Merge lightness and chroma into one still: uint8[H, W, 3] sRGB in OpenCV's order. See `lab_merge`."""
    _check(luma, ab)
    still = np.empty((*luma.shape, 3), np.uint8)
    for top, bgr in _bgr_strips(luma, ab):
        still[top : top + len(bgr)] = _rounded(bgr * np.float32(255))
    return still


def _bgr_strips(luma: UInt8Array, ab: Float32Array) -> Iterator[tuple[int, Float32Array]]:
    """Yield (top row, float32[rows, W, 3] sRGB in 0..1) from the top to the bottom of the frame."""
    height, width = luma.shape
    rows, columns = _nearest(height, ab.shape[1]), _nearest(width, ab.shape[2])
    cells = np.zeros((*ab.shape[1:], 3), np.float32)
    cells[..., 1:] = ab.transpose(1, 2, 0)
    wide = np.take(cells, columns, axis=1)
    for top in range(0, height, _STRIP_ROWS):
        strip = slice(top, top + _STRIP_ROWS)
        lab = np.take(wide, rows[strip], axis=0)
        lightness = cv2.LUT(luma[strip], _LIGHTNESS)
        cv2.insertChannel(lightness, lab, 0)
        yield top, np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2BGR), np.float32)


def _check(luma: UInt8Array, ab: Float32Array) -> None:
    if luma.dtype != np.uint8 or luma.ndim != 2 or luma.size == 0:
        raise ValueError(f"luma must be uint8[H, W], not {luma.dtype}{list(luma.shape)}")
    if ab.dtype != np.float32 or ab.ndim != 3 or ab.shape[0] != 2 or ab.size == 0:
        raise ValueError(f"ab must be float32[2, h, w], not {ab.dtype}{list(ab.shape)}")


def _nearest(pixels: int, cells: int) -> npt.NDArray[np.int64]:
    """int64[pixels]: the cell under each pixel's centre, floor((x + 1/2) * cells / pixels) in exact integers."""
    return (2 * np.arange(pixels, dtype=np.int64) + 1) * cells // (2 * pixels)


def _even(bgr: Float32Array) -> Float32Array:
    rows, columns = bgr.shape[0] % 2, bgr.shape[1] % 2
    if not rows and not columns:
        return bgr
    return np.asarray(cv2.copyMakeBorder(bgr, 0, rows, 0, columns, cv2.BORDER_REPLICATE), np.float32)


def _rounded(values: MatLike) -> UInt8Array:
    """To uint8, rounded and saturated. The values are not negative, so that |x| changes nothing."""
    return np.asarray(cv2.convertScaleAbs(values), np.uint8)
