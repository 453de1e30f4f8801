"""Luma and NV12, the one format between the kernels, the overlay and the encoder.

NV12 is uint8[H * 3 // 2, W], H and W even: H rows of Y', then H / 2 rows of interleaved Cb, Cr. BT.601, limited
range: Y' 16..235, chroma 16..240 around 128 (ITU-R BT.601-7, section 2.5.3).
"""

from __future__ import annotations

import cv2
import numpy as np

from edge.types import UInt8Array

NEUTRAL = 128
_LEVELS = np.arange(256)
_LIMITED = np.floor(16.5 + _LEVELS * 219 / 255).astype(np.uint8)
_FULL = np.floor(np.clip((_LEVELS - 16) * 255 / 219, 0, 255) + 0.5).astype(np.uint8)


def even(pixels: int) -> int:
    """The next even number: the width or height in NV12 of a picture of any size."""
    return pixels + pixels % 2


def from_luma(luma: UInt8Array) -> UInt8Array:
    """Grey NV12 of a full-range luma uint8[H, W]; an odd size is padded by repeating its last row or column."""
    height, width = luma.shape
    nv12 = np.empty((even(height) * 3 // 2, even(width)), np.uint8)
    y, chroma = nv12[: even(height)], nv12[even(height) :]
    y[:height, :width] = cv2.LUT(luma, _LIMITED)
    y[:, width:] = y[:, width - 1 : width]
    y[height:] = y[height - 1 : height]
    chroma[:] = NEUTRAL
    return nv12


def to_full_range(luma: UInt8Array) -> UInt8Array:
    """Limited-range Y' uint8[H, W] stretched to 0..255; what lies outside 16..235 is clipped."""
    return np.asarray(cv2.LUT(luma, _FULL), np.uint8)


def to_bgr(nv12: UInt8Array) -> UInt8Array:
    """uint8[H, W, 3] in OpenCV's order, for snapshots."""
    return np.asarray(cv2.cvtColor(nv12, cv2.COLOR_YUV2BGR_NV12), np.uint8)


def planes(nv12: UInt8Array) -> tuple[UInt8Array, UInt8Array]:
    """Views: Y' uint8[H, W] and chroma uint8[H / 2, W / 2, 2] (Cb, Cr). Drawing on them draws on `nv12`."""
    height = nv12.shape[0] * 2 // 3
    return nv12[:height], nv12[height:].reshape(height // 2, -1, 2)
