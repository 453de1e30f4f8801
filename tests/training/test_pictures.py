"""Pictures to look at: what is beside what, that texts stay inside and apart, and that figures say what they show."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

from edge.types import Float32Array, UInt8Array
from tests.training.photographs import write_photographs
from training.data.detection import Record
from training.data.images import read_rgb
from training.data.nir import luma_of
from training.judging import plots
from training.judging.judge import coloured
from training.learning.samples import ColourSheet, DetectionSheet
from training.metrics.confusion import Confusion
from training.metrics.detection import LabelScores
from training.tiles import GAP_PX, LINE_PX, SHADE, draw_boxes, fit, table

RED, GREEN = (255, 0, 0), (0, 255, 0)


def plain(height: int, width: int, colour: tuple[int, int, int]) -> UInt8Array:
    return np.full((height, width, 3), colour, np.uint8)


def test_a_table_centres_narrow_pictures_on_white() -> None:
    rows = [("wide.jpg", [plain(40, 80, RED)] * 2), ("tall.jpg", [plain(40, 20, GREEN)] * 2)]
    picture = table(("left", "right"), rows)
    row = 40 + LINE_PX + GAP_PX
    assert picture.shape == (LINE_PX + 2 * row, 3 * GAP_PX + 2 * 80, 3)
    tall = picture[LINE_PX + row :][:40, GAP_PX : GAP_PX + 80]
    assert (tall[:, 30:50] == GREEN).all()
    assert (tall[:, :30] == 255).all() and (tall[:, 50:] == 255).all()


@pytest.mark.parametrize("name", ["a" * 500, "fotografía_ä_夜.jpg", "", "..."])
def test_any_name_fits_under_its_row(name: str) -> None:
    picture = table((name,), [(name, [plain(10, 60, RED)])])
    assert picture.shape == (LINE_PX + 10 + LINE_PX + GAP_PX, 60 + 2 * GAP_PX, 3)


@pytest.mark.parametrize(
    ("size", "expected"), [((300, 400), (150, 200)), ((90, 30), (150, 50)), ((1, 4000), (1, 200))]
)
def test_pictures_keep_their_aspect(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fit(np.zeros(size, np.uint8), 150, 200).shape == expected


def backings(picture: UInt8Array) -> list[list[int]]:
    """left, top, width, height, area of each dark backing."""
    mask = (np.abs(picture.astype(int) - SHADE).max(axis=2) < 1).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    return [stats for stats in cv2.connectedComponentsWithStats(mask)[2][1:].tolist() if stats[4] > 20]


@pytest.mark.parametrize("corner", [(-20, -20), (190, 50), (190, 140), (20, 140)])
def test_a_text_stays_inside_the_picture(corner: tuple[int, int]) -> None:
    picture = plain(150, 200, (200, 200, 200))
    box = np.array([[*corner, corner[0] + 60, corner[1] + 60]], np.float32)
    draw_boxes(picture, box, ["kangaroo 0.98"], GREEN)
    left, top, width, height = np.array(backings(picture))[:, :4].T
    whole = np.array([left.min(), top.min(), (left + width).max(), (top + height).max()])
    written, _ = cv2.getTextSize("kangaroo 0.98", cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
    assert whole[2] - whole[0] >= written[0] and whole[3] - whole[1] >= 14
    assert (whole >= 0).all() and whole[2] <= 200 and whole[3] <= 150


def test_texts_of_boxes_that_share_a_corner_do_not_overlap() -> None:
    one, three = plain(150, 200, (200, 200, 200)), plain(150, 200, (200, 200, 200))
    box = [20, 60, 120, 130]
    draw_boxes(one, np.array([box], np.float32), ["dog 0.98"], GREEN)
    draw_boxes(three, np.float32([box] * 3), ["dog 0.98"] * 3, GREEN)
    dark = [int((np.abs(picture.astype(int) - SHADE).max(axis=2) < 1).sum()) for picture in (one, three)]
    assert dark[1] == pytest.approx(3 * dark[0], rel=0.05)


class Uniform(nn.Module):
    """The same ab everywhere."""

    def forward(self, luma: torch.Tensor, _context: torch.Tensor) -> torch.Tensor:
        return torch.tensor([-30.0, 20.0])[None, :, None, None].expand(1, 2, 128, 128)


class Scene(nn.Module):
    input_px = 64

    def forward(self, luma: torch.Tensor) -> torch.Tensor:
        return torch.zeros(1, 1000)


def test_a_colour_sheet_merges_as_the_service_and_keeps_the_aspect(tmp_path: Path) -> None:
    files = write_photographs(tmp_path, 1, size=(144, 192))
    sheet = ColourSheet(files, Scene(), torch.device("cpu"))(Uniform())  # type: ignore[arg-type]
    assert sheet is not None
    truth = fit(read_rgb(files[0]), 288, 384)
    tiles = [sheet[LINE_PX : LINE_PX + 288, GAP_PX + i * (384 + GAP_PX) :][:, :384] for i in range(3)]
    ab = np.broadcast_to(np.array([-30, 20], np.float32)[:, None, None], (2, 128, 128))
    np.testing.assert_array_equal(tiles[1], coloured(luma_of(truth), ab))
    np.testing.assert_array_equal(tiles[2], truth)


class Finds(nn.Module):
    """Two objects in pixels of the 64 x 64 input, the second unsure."""

    def forward(self, luma: torch.Tensor) -> tuple[torch.Tensor, ...]:
        boxes = torch.tensor([[[16.0, 12.0, 48.0, 36.0], [0.0, 0.0, 8.0, 8.0]]])
        return boxes, torch.tensor([[0.9, 0.4]]), torch.tensor([[0, 0]])


def test_a_detection_sheet_shows_sure_boxes_beside_those_of_people(tmp_path: Path) -> None:
    file = write_photographs(tmp_path, 1)[0]
    boxes: Float32Array = np.array([[40, 30, 120, 90], [0, 0, 20, 20]], np.float32)
    by_people = np.array([True, False])
    record = Record(file, boxes, np.array([0, 0]), np.array([1, 0.8], np.float32), by_people, frozenset({"dog"}))
    sheet = DetectionSheet([record], ["dog"], 64, torch.device("cpu"))(Finds())
    assert sheet is not None
    found, people = (sheet[LINE_PX : LINE_PX + 432, GAP_PX + i * (576 + GAP_PX) :][:, :576] for i in range(2))
    for tile, colour in ((found, (80, 255, 120)), (people, (255, 200, 60))):
        y, x = np.nonzero((tile == colour).all(axis=2))
        assert (x.min(), x.max(), y.max()) == (144, 432, 324)  # the one box, 3.6 times as large


def texts_of(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_a_confusion_matrix_says_what_it_counts_and_leaves_out_the_empty() -> None:
    counts = np.array([[8, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 3, 0]])
    figure = plots.confusion_figure(Confusion(("dog", "cat", "cow"), counts, 0.5, 0.5))
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["dog", "cow", "background"]
    assert texts_of(axes) == ["8", "1", "3"]
    title = axes.get_title()
    assert "counts; shade: share of the row" in title and "9 objects" in title
    assert "1 label without any object or detection left out" in title


def test_curves_count_objects_and_say_where_none_is_found() -> None:
    scores = {"dog": scores_of(0.6, 1), "cat": scores_of(0.0, 1), "cow": scores_of(0.4, 3)}
    figure = plots.curves_figure(scores)
    assert [texts_of(axes) for axes in figure.axes] == [["1 object"], ["1 object, none found"], ["3 objects"]]


def scores_of(ap50: float, boxes: int) -> LabelScores:
    curve = np.full(101, ap50)
    return LabelScores(ap50, ap50, ap50, ap50, images=1, boxes=boxes, precision=curve, thresholds=curve)


@pytest.mark.parametrize(
    ("groups", "names", "log"),
    [
        (["PSNR, dB: gain over the grey copy", "CIEDE2000: gain over the grey copy"], ["paper", "field"], False),
        (["128x128", "800x600"], [f"Faster R-CNN (VGG-16), runtime_{i}_fp32" for i in range(21)], True),
    ],
)
def test_bars_overlap_no_text(
    groups: list[str], names: list[str], log: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, _path: drawn.append(figure))
    series = {name: [0.00123 * 1.5**i, 12.3] for i, name in enumerate(names)}
    plots.bars(tmp_path / "bars.png", groups, series, ylabel="seconds", log=log)
    (figure,) = drawn
    figure.draw_without_rendering()
    assert len(figure.axes) == len(groups)
    for axes in figure.axes:
        extents = sorted((text.get_window_extent() for text in axes.texts), key=lambda box: box.x0)
        assert len(extents) == len(names)
        assert not any(a.overlaps(b) for a, b in itertools.pairwise(extents))
        assert axes.title.get_window_extent().x1 <= figure.bbox.x1
    below = figure.axes[-1].get_xticklabels()
    assert [" ".join(label.get_text().split()) for label in below] == [name.replace("_", " ") for name in names]
    assert min(label.get_window_extent().y0 for label in below) >= 0
    limits = {axes.get_ylim() for axes in figure.axes}
    assert len(limits) == (1 if log else len(groups))
