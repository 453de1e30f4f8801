"""Boxes and labels drawn into NV12."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import cv2

from edge.types import Track, UInt8Array
from edge.video.nv12 import even, planes
from edge.video.text import extent, write

_BLACK = 16
_BRIGHT = 180  # one brightness for all colours, so that black text reads on each
_SATURATION = 60
_GOLDEN = (math.sqrt(5) - 1) / 2  # multiples of it, modulo 1, lie far apart
Corners = tuple[int, int, int, int]


def draw_tracks(nv12: UInt8Array, tracks: Sequence[Track], frame_size: tuple[int, int]) -> UInt8Array:
    """A copy of `nv12` with a box and "label score" for each track.

    Args:
        nv12: uint8[H * 3 // 2, W].
        tracks: boxes in pixels of the frame; what lies outside is cut off.
        frame_size: width and height of the frame, which `nv12` shows at any scale.
    """
    drawn: UInt8Array = nv12.copy()
    canvas = _Canvas(drawn)
    scale_x = canvas.width / even(frame_size[0])
    scale_y = canvas.height / even(frame_size[1])
    for track in tracks:
        left, top, right, bottom = track.box
        box = canvas.clip(left * scale_x, top * scale_y, right * scale_x, bottom * scale_y)
        if box is not None:
            colour = label_colour(track.label)
            canvas.box(box, colour)
            canvas.tag(box, f"{track.label} {track.score:.2f}", colour)
    return drawn


def label_colour(label: str) -> tuple[int, int]:
    """The chroma (Cb, Cr) of a label: a hue that is the same in every run."""
    hue = zlib.adler32(label.encode()) * _GOLDEN % 1 * math.tau
    return round(128 + _SATURATION * math.cos(hue)), round(128 + _SATURATION * math.sin(hue))


class _Canvas:
    """Draws into the planes of NV12; chroma has half the size, and lines there half the width."""

    def __init__(self, nv12: UInt8Array) -> None:
        self._y, self._chroma = planes(nv12)
        self.height, self.width = self._y.shape
        self._line_px = max(1, round(self.height / 300))
        self._letters_px = max(8, self.height // 40)

    def clip(self, left: float, top: float, right: float, bottom: float) -> Corners | None:
        """Whole pixels inside the picture; None for a box outside it."""
        x1, x2 = (min(max(round(x), 0), self.width - 1) for x in (left, right))
        y1, y2 = (min(max(round(y), 0), self.height - 1) for y in (top, bottom))
        return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 else None

    def box(self, box: Corners, colour: tuple[int, int]) -> None:
        """A bright line with a dark edge, so that it reads on snow and at night."""
        x1, y1, x2, y2 = box
        cv2.rectangle(self._y, (x1, y1), (x2, y2), _BLACK, self._line_px + 2)
        cv2.rectangle(self._y, (x1, y1), (x2, y2), _BRIGHT, self._line_px)
        half = max(1, self._line_px // 2)
        cv2.rectangle(self._chroma, (x1 // 2, y1 // 2), (x2 // 2, y2 // 2), colour, half)

    def tag(self, box: Corners, text: str, colour: tuple[int, int]) -> None:
        """Text on the label's colour: above the box, or inside it where there is no room above."""
        text_width, text_height = extent(text, self._letters_px)
        pad = self._letters_px // 3 + 1
        width, height = text_width + 2 * pad, text_height + 2 * pad
        x = max(0, min(box[0], self.width - width))
        y = box[1] - height if box[1] >= height else box[1]
        right, bottom = x + width - 1, y + height - 1
        cv2.rectangle(self._y, (x, y), (right, bottom), _BRIGHT, cv2.FILLED)
        cv2.rectangle(self._chroma, (x // 2, y // 2), (right // 2, bottom // 2), colour, cv2.FILLED)
        write(self._y, text, x + pad, bottom - pad, self._letters_px, _BLACK)
