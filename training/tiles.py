"""Pictures laid out as a table to look at: a heading over each column, and a caption under each row."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edge.types import Float32Array, UInt8Array

GAP_PX = 6
LINE_PX = 22  # height of a line of text
TEXT_SCALE = 0.45
INK, PAPER, SHADE = (40, 40, 40), 255, (20, 20, 20)

Colour = tuple[int, int, int]


def table(headings: Sequence[str], rows: Sequence[tuple[str, Sequence[UInt8Array]]]) -> UInt8Array:
    """Lay out captioned rows of pictures, each centred in its cell, on white.

    Args:
        headings: one for each column.
        rows: caption and pictures uint8[h, w, 3], one for each column and of any size.

    Returns:
        uint8[H, W, 3]. A column is as wide as its widest picture, a row as high as its highest.
    """
    widths = [max(row[column].shape[1] for _, row in rows) for column in range(len(headings))]
    cells = [_centred(_line(heading, width), width, LINE_PX) for heading, width in zip(headings, widths, strict=True)]
    bands = [_beside(cells)]
    for caption, pictures in rows:
        height = max(picture.shape[0] for picture in pictures)
        cells = [_centred(picture, width, height) for picture, width in zip(pictures, widths, strict=True)]
        band = _beside(cells)
        line = _line(caption, band.shape[1] - GAP_PX)
        bands += [band, _placed(line, (LINE_PX + GAP_PX, band.shape[1]), (0, GAP_PX))]
    return np.concatenate(bands)


def fit(picture: UInt8Array, height: int, width: int) -> UInt8Array:
    """uint8[H, W, ...]: the picture with its aspect kept, as large as the box allows."""
    ratio = min(height / picture.shape[0], width / picture.shape[1])
    size = max(1, round(picture.shape[1] * ratio)), max(1, round(picture.shape[0] * ratio))
    method = cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size, interpolation=method), np.uint8)


def draw_boxes(picture: UInt8Array, boxes: Float32Array, texts: Sequence[str], colour: Colour) -> None:
    """Draw boxes float32[N, 4] (xyxy, pixels) into uint8[H, W, 3], their texts inside it and side by side.

    The first text is placed first: give the most important box first.
    """
    for left, top, right, bottom in np.rint(boxes).astype(int).tolist():
        cv2.rectangle(picture, (left, top), (right, bottom), colour, 1)
    taken: list[tuple[int, int, int, int]] = []
    for (left, top), text in zip(np.rint(boxes[:, :2]).astype(int).tolist(), texts, strict=True):
        taken.append(_free_place(picture, left, top, text, taken))
        x0, y0, x1, y1 = taken[-1]
        cv2.rectangle(picture, (x0, y0), (x1 - 1, y1 - 1), SHADE, cv2.FILLED)
        _write(picture, text, (x0 + 2, y1 - 4), colour)


def _free_place(
    picture: UInt8Array, left: int, top: int, text: str, taken: Sequence[tuple[int, int, int, int]]
) -> tuple[int, int, int, int]:
    """Where a text goes, xyxy: as near above a box's top left corner as the picture and other texts allow."""
    width, height = _width_of(text) + 4, LINE_PX - 6
    x = max(0, min(left, picture.shape[1] - width))
    lowest = max(0, picture.shape[0] - height)
    wanted = max(0, min(top - height, lowest))
    others = [(y0, y1) for x0, y0, x1, y1 in taken if x < x1 and x0 < x + width]
    places = [wanted, *(y1 for _, y1 in others), *(y0 - height for y0, _ in others)]
    free = [y for y in places if 0 <= y <= lowest and all(y + height <= y0 or y1 <= y for y0, y1 in others)]
    y = min(free, key=lambda y: abs(y - wanted), default=wanted)
    return x, y, x + width, y + height


def _centred(picture: UInt8Array, width: int, height: int) -> UInt8Array:
    corner = (height - picture.shape[0]) // 2, (width - picture.shape[1]) // 2
    return _placed(picture, (height, width), corner)


def _placed(picture: UInt8Array, size: tuple[int, int], corner: tuple[int, int]) -> UInt8Array:
    """The picture on white of `size` (height, width), its top left corner at (y, x)."""
    page = np.full((*size, 3), PAPER, np.uint8)
    y, x = corner
    page[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return page


def _beside(cells: Sequence[UInt8Array]) -> UInt8Array:
    margin = np.full((cells[0].shape[0], GAP_PX, 3), PAPER, np.uint8)
    return np.concatenate([margin, *(part for cell in cells for part in (cell, margin))], axis=1)


def _line(text: str, width: int) -> UInt8Array:
    """A line of text on white, uint8[LINE_PX, at most `width`, 3]; what does not fit is cut, and says so."""
    while _width_of(text) > width and len(text.rstrip(".")) > 1:
        text = text.rstrip(".")[:-1] + "..."
    line = np.full((LINE_PX, max(1, min(width, _width_of(text))), 3), PAPER, np.uint8)
    _write(line, text, (0, LINE_PX - 7), INK)
    return line


def _write(picture: UInt8Array, text: str, at: tuple[int, int], colour: Colour) -> None:
    cv2.putText(picture, _drawable(text), at, cv2.FONT_HERSHEY_SIMPLEX, TEXT_SCALE, colour, 1, cv2.LINE_AA)


def _width_of(text: str) -> int:
    (width, _), _ = cv2.getTextSize(_drawable(text), cv2.FONT_HERSHEY_SIMPLEX, TEXT_SCALE, 1)
    return width


def _drawable(text: str) -> str:
    """The font has ASCII alone."""
    return text.encode("ascii", "replace").decode()
