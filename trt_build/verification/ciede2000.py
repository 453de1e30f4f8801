"""How different two colours look: CIEDE2000 in numpy, for units that have no scikit-image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]

_25_TO_7 = 25.0**7


def ciede2000(lab_1: npt.ArrayLike, lab_2: npt.ArrayLike) -> Float64Array:
    """Colour difference of CIELAB colours [..., 3], elementwise; 1 is about what one can just see.

    Sharma, Wu and Dalal, "The CIEDE2000 color-difference formula: implementation notes, supplementary test data, and
    mathematical observations", 2005, equations 2 to 22, with k_L = k_C = k_H = 1.
    """
    l_1, a_1, b_1 = np.moveaxis(np.asarray(lab_1, np.float64), -1, 0)
    l_2, a_2, b_2 = np.moveaxis(np.asarray(lab_2, np.float64), -1, 0)
    stretch = 1.5 - 0.5 * _saturation((np.hypot(a_1, b_1) + np.hypot(a_2, b_2)) / 2)  # 1 + G
    c_1, h_1 = _polar(a_1 * stretch, b_1)
    c_2, h_2 = _polar(a_2 * stretch, b_2)
    lightness, chroma, product = (l_1 + l_2) / 2, (c_1 + c_2) / 2, c_1 * c_2
    turn, hue = _hues(h_1, h_2, product)
    from_50 = (lightness - 50) ** 2
    light = (l_2 - l_1) / (1 + 0.015 * from_50 / np.sqrt(20 + from_50))
    chromatic = (c_2 - c_1) / (1 + 0.045 * chroma)
    tinted = 2 * np.sqrt(product) * np.sin(turn / 2) / (1 + 0.015 * chroma * _hue_weight(hue))
    square = light**2 + chromatic**2 + tinted**2 + _rotation(chroma, hue) * chromatic * tinted
    return np.asarray(np.sqrt(np.maximum(square, 0)), np.float64)


def _saturation(chroma: Float64Array) -> Float64Array:
    power = chroma**7
    return np.asarray(np.sqrt(power / (power + _25_TO_7)), np.float64)


def _polar(a: Float64Array, b: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Chroma, and hue in radians from 0 to 2 pi."""
    return np.hypot(a, b), np.arctan2(b, a) % (2 * np.pi)


def _hues(h_1: Float64Array, h_2: Float64Array, product: Float64Array) -> tuple[Float64Array, Float64Array]:
    """The turn from one hue to the other, the short way round, and the hue in the middle of it; grey has none."""
    apart, total = h_2 - h_1, h_1 + h_2
    turn = apart - 2 * np.pi * np.sign(apart) * (np.abs(apart) > np.pi)
    around = np.where(total < 2 * np.pi, 2 * np.pi, -2 * np.pi) * (np.abs(apart) > np.pi)
    grey = product == 0
    return np.where(grey, 0, turn), np.where(grey, total, (total + around) / 2)


def _hue_weight(hue: Float64Array) -> Float64Array:
    """T of the paper, equation 15."""
    waves = 0.24 * np.cos(2 * hue) + 0.32 * np.cos(3 * hue + np.radians(6)) - 0.20 * np.cos(4 * hue - np.radians(63))
    return np.asarray(1 - 0.17 * np.cos(hue - np.radians(30)) + waves, np.float64)


def _rotation(chroma: Float64Array, hue: Float64Array) -> Float64Array:
    """R_T of the paper, equations 16, 17 and 21: blues need it."""
    angle = np.radians(30) * np.exp(-(((np.degrees(hue) - 275) / 25) ** 2))
    return np.asarray(-np.sin(2 * angle) * 2 * _saturation(chroma), np.float64)
