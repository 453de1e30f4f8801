"""The luma of the chroma cells, which guides upsampling and tells the chroma filter what moves."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from edge.types import UInt8Array


def cell_luma(luma: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """Mean luma of each cell, uint8[h, w].

    Args:
        luma: uint8[H, W], any strides.
        size: (h, w), any number of cells; a pixel counts by its share that lies in the cell.
    """
    height, width = luma.shape
    if height >= size[0] and width >= size[1]:
        return np.asarray(cv2.resize(luma, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    means = _shares(height, size[0]) @ luma @ _shares(width, size[1]).T
    return np.asarray(np.rint(means), np.uint8)


def _shares(pixels: int, cells: int) -> npt.NDArray[np.float64]:
    """float64[cells, pixels]: which share of each cell lies in which pixel, 0..1."""
    edges = np.arange(cells + 1) * pixels / cells
    left, right = np.maximum.outer(edges[:-1], np.arange(pixels)), np.minimum.outer(edges[1:], np.arange(pixels) + 1)
    return np.asarray((right - left).clip(0) * cells / pixels, np.float64)
