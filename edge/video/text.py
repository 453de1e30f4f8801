"""Text of a given letter height on one plane of a picture. The built-in font knows ASCII only."""

from __future__ import annotations

import cv2

from edge.types import UInt8Array

_FONT = cv2.FONT_HERSHEY_SIMPLEX


def extent(text: str, letters_px: int) -> tuple[int, int]:
    """Width and height in pixels of a line whose capitals are `letters_px` high."""
    scale, stroke_px = _scale(letters_px)
    (width, height), _ = cv2.getTextSize(text, _FONT, scale, stroke_px)
    return int(width), int(height)


def write(plane: UInt8Array, text: str, left: int, bottom: int, letters_px: int, level: int) -> None:
    """Write a line on uint8[H, W]; what does not fit is cut off."""
    scale, stroke_px = _scale(letters_px)
    cv2.putText(plane, text, (left, bottom), _FONT, scale, level, stroke_px, cv2.LINE_AA)


def _scale(letters_px: int) -> tuple[float, int]:
    (_, unit_px), _ = cv2.getTextSize("N", _FONT, 1, 1)
    return letters_px / unit_px, max(1, letters_px // 10)
