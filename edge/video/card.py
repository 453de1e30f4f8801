"""The "no signal" card: what viewers see while the source is away."""

from __future__ import annotations

import textwrap

import cv2
import numpy as np

from edge.types import UInt8Array
from edge.video.nv12 import NEUTRAL, planes
from edge.video.text import extent, write

DEFAULT_SIZE = (640, 480)
_BLACK, _DARK, _WHITE = 16, 40, 235
_BRIGHTNESS = 0.3  # of the last picture under the text
_MARGIN = 0.06
_MAX_DETAIL_LINES = 3


def no_signal_card(
    last_picture: UInt8Array | None,
    detail: str,
    age_s: float | None,
    *,
    size: tuple[int, int] = DEFAULT_SIZE,
) -> UInt8Array:
    """NV12 that says that, why, and for how long the source is away.

    Args:
        last_picture: NV12 uint8[H * 3 // 2, W], shown darkened; None gives dark grey.
        detail: the source's one line.
        age_s: seconds since the last frame; None if there has been none.
        size: width and height, even, where there is no last picture.
    """
    card = _dark_grey(size) if last_picture is None else _darkened(last_picture)
    y, _ = planes(card)
    height, width = y.shape
    title_px, body_px = max(14, height // 10), max(8, height // 32)
    detail = detail.encode("ascii", "replace").decode()
    lines = [("NO SIGNAL", title_px), (since_last_frame(age_s), body_px)]
    lines += [(line, body_px) for line in _wrap(detail, body_px, round(width * (1 - 2 * _MARGIN)))]
    _write_centred(y, lines)
    return card


def since_last_frame(age_s: float | None) -> str:
    """The age of the last frame in words, in the unit that fits."""
    if age_s is None:
        return "no frame yet"
    seconds = int(age_s)
    if seconds < 120:
        age = f"{seconds} s"
    elif seconds < 7200:
        age = f"{seconds // 60} min"
    else:
        age = f"{seconds // 3600} h {seconds // 60 % 60} min"
    return f"{age} since the last frame"


def _dark_grey(size: tuple[int, int]) -> UInt8Array:
    width, height = size
    card = np.full((height * 3 // 2, width), NEUTRAL, np.uint8)
    card[:height] = _DARK
    return card


def _darkened(picture: UInt8Array) -> UInt8Array:
    card = np.empty_like(picture)
    for source, target, zero in zip(planes(picture), planes(card), (_BLACK, NEUTRAL), strict=True):
        cv2.convertScaleAbs(source, target, _BRIGHTNESS, zero * (1 - _BRIGHTNESS))
    return card


def _wrap(text: str, height_px: int, width_px: int) -> list[str]:
    if not text:
        return []
    mean_width_px = extent(text, height_px)[0] / len(text)
    columns = max(8, int(width_px / mean_width_px * 0.95))  # letters differ in width
    return textwrap.wrap(text, columns, max_lines=_MAX_DETAIL_LINES, placeholder="...")


def _write_centred(y: UInt8Array, lines: list[tuple[str, int]]) -> None:
    """Write lines of given letter heights below each other, in the middle of a Y' plane."""
    height, width = y.shape
    gap_px = lines[1][1]
    bottom = (height - sum(letters_px + gap_px for _, letters_px in lines) + gap_px) // 2
    for text, letters_px in lines:
        bottom += letters_px
        left = (width - extent(text, letters_px)[0]) // 2
        write(y, text, left, bottom, letters_px, _WHITE)
        bottom += gap_px
