"""The frames on which engine and reference differ most, side by side in one picture."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import cv2
import numpy as np

from edge.bundles.manifest import ModelName
from edge.inference.base import Array
from edge.kernels.lab_merge import lab_merge_bgr
from edge.types import Detections, UInt8Array
from edge.vision.preprocess import Letterbox
from trt_build.verification.compare import Answers, Arrays, Comparison, colour_differences
from trt_build.verification.matching import MIN_SCORE, counting, match, objects

_TILE: Final = (240, 320)  # height, width in pixels
_LINE_PX: Final = 22
_LETTERS: Final = 125  # of a line
_MARGIN_PX: Final = 8
_BRIGHTEST: Final = 5.0  # CIEDE2000 that the picture of differences shows at full brightness
_WHITE, _GREEN, _RED = (255, 255, 255), (80, 220, 80), (60, 60, 240)  # BGR

Tiles = list[UInt8Array]


def draw_page(comparisons: Sequence[Comparison], labels: Sequence[str]) -> UInt8Array:
    """uint8[H, W, 3] BGR: for each network its figures, then a row for each of its worst frames."""
    width = 3 * _TILE[1] + 4 * _MARGIN_PX
    strips = [strip for comparison in comparisons for strip in _section(comparison, labels, width)]
    return np.concatenate(strips)


def _section(comparison: Comparison, labels: Sequence[str], width: int) -> Iterator[UInt8Array]:
    verdict = "; ".join(comparison.exceeded) or "nothing beyond its limits"
    title = f"{comparison.model} {comparison.precision}, {comparison.frames} frames: {verdict}"
    figures = ", ".join(f"{name} {value:.3g}" for name, value in comparison.measures.items())
    yield from (_text(line, width, bold=True) for line in textwrap.wrap(title, _LETTERS))
    yield from (_text(line, width) for line in textwrap.wrap(figures, _LETTERS))
    draw, titles = _DRAWN.get(comparison.model, (None, ""))
    if draw is None:
        return
    yield _text(titles, width)
    for answers in comparison.worst:
        tiles = draw(answers, labels)
        yield _row([np.asarray(cv2.resize(tile, _TILE[::-1], interpolation=cv2.INTER_AREA)) for tile in tiles])
        yield _text(answers.sample.path.name, width)


def _colours(answers: Answers, labels: Sequence[str]) -> Tiles:
    """Both coloured frames and their CIEDE2000. Values that are not finite are shown as none."""
    luma = answers.sample.luma
    expected, found = (
        np.nan_to_num(side["ab"][0], posinf=0, neginf=0) for side in (answers.reference, answers.engine)
    )
    differences = colour_differences(luma, expected, found)
    levels = np.clip(differences * (255 / _BRIGHTEST), 0, 255).astype(np.uint8)
    shown = np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), np.uint8)
    return [lab_merge_bgr(luma, expected), lab_merge_bgr(luma, found), shown]


def _objects(answers: Answers, labels: Sequence[str]) -> Tiles:
    """Both sides' objects, and those that the other side lacks."""
    luma = answers.sample.luma
    size = answers.sample.arrays["image"].shape
    place = Letterbox.fit((luma.shape[0], luma.shape[1]), (size[2], size[3]))
    reference, engine = (_finite_objects(side) for side in (answers.reference, answers.engine))
    pairs = match(reference, engine, 0.9)
    tiles, lonely = [], _grey(luma)
    for side, taken, colour in (
        (reference, {i for i, _ in pairs}, _GREEN),
        (engine, {j for _, j in pairs}, _RED),
    ):
        tile, boxes = _grey(luma), place.boxes_to_frame(side.boxes)
        for i in counting(side):
            name = f"{labels[side.labels[i]]} {side.scores[i]:.2f}"
            _draw_box(tile, boxes[i], name, _GREEN)
            if i not in taken:
                _draw_box(lonely, boxes[i], name, colour)
        tiles.append(tile)
    return [*tiles, lonely]


def _finite_objects(side: Arrays) -> Detections:
    return objects(np.nan_to_num(side["boxes"]), np.nan_to_num(side["scores"]), side["labels"])


_DRAWN: Final[dict[ModelName, tuple[Callable[[Answers, Sequence[str]], Tiles], str]]] = {
    "colorizer": (_colours, f"reference | engine | CIEDE2000, white at {_BRIGHTEST:g}"),
    "recognizer": (
        _objects,
        f"reference | engine | unmatched at IoU 0.9: green of the reference, red of the engine "
        f"(scores from {MIN_SCORE:g})",
    ),
}


def _grey(luma: UInt8Array) -> UInt8Array:
    """A frame to draw on, at about the size it is shown in, so that lines and letters stay readable."""
    return np.asarray(cv2.cvtColor(luma, cv2.COLOR_GRAY2BGR), np.uint8)


def _draw_box(picture: UInt8Array, box: Array, name: str, colour: tuple[int, int, int]) -> None:
    scale = max(picture.shape[0] / _TILE[0], picture.shape[1] / _TILE[1])
    left, top, right, bottom = (round(float(edge)) for edge in box)
    thick = max(1, round(scale))
    cv2.rectangle(picture, (left, top), (right, bottom), colour, thick)
    where = (left, max(top - thick, round(12 * scale)))
    cv2.putText(picture, name, where, cv2.FONT_HERSHEY_SIMPLEX, 0.4 * scale, colour, thick, cv2.LINE_AA)


def _row(tiles: Tiles) -> UInt8Array:
    gap = np.zeros((_TILE[0], _MARGIN_PX, 3), np.uint8)
    return np.concatenate([gap, *(part for tile in tiles for part in (tile, gap))], axis=1)


def _text(text: str, width: int, *, bold: bool = False) -> UInt8Array:
    strip = np.zeros((_LINE_PX, width, 3), np.uint8)
    where = (_MARGIN_PX, _LINE_PX - 7)
    cv2.putText(strip, text, where, cv2.FONT_HERSHEY_SIMPLEX, 0.42, _WHITE, 1 + bold, cv2.LINE_AA)
    return strip
