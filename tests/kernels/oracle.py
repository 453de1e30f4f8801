"""The merge kernel in float64, from the formulas of CIE 15, IEC 61966-2-1, BT.601 and BT.709; not rounded."""

from __future__ import annotations

import numpy as np

from edge.kernels.base import PAPER
from edge.kernels.cells import cell_luma as cells_of  # an input: rounded either way, it is right

WHITE_D65 = (0.95047, 1.0, 1.08883)
LINEAR_SRGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
LUMA_WEIGHTS = {"bt601": (0.299, 0.587, 0.114), "bt709": (0.2126, 0.7152, 0.0722)}
STILL, MOVING = 4, 16


def lightness(luma):
    """CIELAB L of a grey sRGB value 0..255."""
    grey = luma / 255
    y = np.where(grey <= 0.04045, grey / 12.92, ((grey + 0.055) / 1.055) ** 2.4)
    return np.where(y > 216 / 24389, 116 * np.cbrt(y) - 16, y * 24389 / 27)


def srgb(lightness, a, b):
    """[..., 3], R G B in 0..255, clipped to the gamut in linear light."""
    f_y = (lightness + 16) / 116
    xyz = np.stack([_inverse_f(f_y + a / 500), _inverse_f(f_y), _inverse_f(f_y - b / 200)], axis=-1) * WHITE_D65
    linear = np.clip(xyz @ np.linalg.inv(LINEAR_SRGB_TO_XYZ).T, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _inverse_f(t):
    return np.where(t > 6 / 29, t**3, 3 * (6 / 29) ** 2 * (t - 4 / 29))


def picture(luma, ab, residual=None, style=PAPER):
    """[H, W, 3], R G B in 0..255."""
    cells = np.where(np.isfinite(ab).all(axis=0), ab, 0).astype(np.float64).clip(-128, 128)
    added = np.zeros(ab.shape[1:]) if residual is None else np.where(np.isfinite(residual), residual, 0)
    a, b, added = upsampled(np.concatenate([cells, added[None]]).astype(np.float64), luma, style)
    level = lightness(luma)
    return srgb(level if residual is None else (level + added).clip(0, 100), a, b)


def upsampled(cells, luma, style):
    """[C, h, w] to [C, H, W]."""
    (height, width), (rows, columns) = luma.shape, cells.shape[1:]
    if style.upsampling == "nearest":
        nearest_rows = np.floor((np.arange(height) + 0.5) * rows / height).astype(int)
        nearest_columns = np.floor((np.arange(width) + 0.5) * columns / width).astype(int)
        return cells[:, nearest_rows][:, :, nearest_columns]
    guide = cells_of(luma, (rows, columns)).astype(np.float64)
    total, whole = 0, 0
    for down, row in zip(*bilinear(height, rows), strict=True):
        for across, column in zip(*bilinear(width, columns), strict=True):
            distance = (luma - guide[np.ix_(row, column)]) / style.guide_sigma
            weight = np.outer(down, across) / (1 + distance**2) ** 2
            total, whole = total + weight * cells[:, row][:, :, column], whole + weight
    return total / whole


def bilinear(pixels, cells):
    """Shares and indices of the two cells around each pixel's centre."""
    place = ((np.arange(pixels) + 0.5) * cells / pixels - 0.5).clip(0, cells - 1)
    first = place.astype(int)
    return (1 - place + first, place - first), (first, np.minimum(first + 1, cells - 1))


def cell_luma(luma, size):
    """[h, w], mean luma over the exact area of each cell."""
    height, width = (_overlaps(pixels, cells) for pixels, cells in zip(luma.shape, size, strict=True))
    return height @ luma.astype(np.float64) @ width.T


def _overlaps(pixels, cells):
    edges = np.arange(cells + 1) * pixels / cells
    overlap = np.minimum.outer(edges[1:], np.arange(pixels) + 1) - np.maximum.outer(edges[:-1], np.arange(pixels))
    return overlap.clip(0) * cells / pixels


def nv12(rgb, style=PAPER):
    """[H2 * 3 // 2, W2] of a picture [H, W, 3], 0..255."""
    rgb = np.pad(rgb / 255, ((0, rgb.shape[0] % 2), (0, rgb.shape[1] % 2), (0, 0)), mode="edge")
    red, _, blue = np.moveaxis(rgb, -1, 0)
    weights = LUMA_WEIGHTS[style.standard]
    y = rgb @ weights
    chroma = np.stack([(blue - y) / (2 - 2 * weights[2]), (red - y) / (2 - 2 * weights[0])], axis=-1)
    rows = (chroma[::2] + chroma[1::2]) / 2
    means = (rows[:, ::2] + rows[:, 1::2]) / 2
    if style.siting == "left":
        before = np.concatenate([rows[:, :1], rows[:, 1:-1:2]], axis=1)
        means = (before + 2 * rows[:, ::2] + rows[:, 1::2]) / 4
    return np.concatenate([16 + 219 * y, (128 + 224 * means).reshape(len(y) // 2, y.shape[1])])


def filtered(ab, cells, previous_ab, previous_cells, smoothing):
    """[2, h, w]: the recursive average over time."""
    motion = (np.abs(_blurred(cells) - _blurred(previous_cells)) - STILL) / (MOVING - STILL)
    return ab + smoothing * (1 - motion.clip(0, 1)) * (previous_ab - ab)


def _blurred(cells):
    padded = np.pad(cells.astype(np.float64), 1, mode="reflect" if min(cells.shape) > 1 else "edge")
    height, width = cells.shape
    return sum(padded[y : y + height, x : x + width] for y in range(3) for x in range(3)) / 9
