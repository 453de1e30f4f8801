"""Boxes and labels in NV12."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from edge.types import Instant, Track
from edge.video.nv12 import from_luma, planes
from edge.video.overlay import draw_tracks, label_colour

NOW = Instant.now()


def track(*box, label="dog"):
    return Track("1", label, 0.874, tuple(map(float, box)), NOW, NOW)


def grey(width, height):
    return from_luma(np.full((height, width), 100, np.uint8))


def changed(before, after):
    """First and last row and column of luma that differ."""
    rows, columns = np.nonzero(planes(before)[0] != planes(after)[0])
    return rows.min(), rows.max(), columns.min(), columns.max()


def test_a_box_has_bright_lines_of_the_label_s_colour():
    picture = grey(640, 480)
    drawn = draw_tracks(picture, [track(100, 100, 300, 200)], (640, 480))
    y, chroma = planes(drawn)
    assert (y[100:200, 100] == 180).all()
    assert (y[100:200, 300] == 180).all()
    assert (y[200, 100:300] == 180).all()
    assert (chroma[60:95, 50] == label_colour("dog")).all()
    assert (y[120:180, 120:280] == y[0, 0]).all(), "the object itself is not covered"
    assert (picture == grey(640, 480)).all(), "drawn into a copy"


def test_the_tag_is_above_the_box_or_inside_where_there_is_no_room():
    above = changed(grey(640, 480), draw_tracks(grey(640, 480), [track(100, 100, 300, 200)], (640, 480)))
    assert 70 < above[0] < 95
    assert 200 <= above[1] <= 204
    inside = changed(grey(640, 480), draw_tracks(grey(640, 480), [track(100, 2, 300, 200)], (640, 480)))
    assert inside[0] <= 2


@pytest.mark.parametrize(("width", "height", "scale"), [(320, 240, 0.5), (1280, 960, 2), (642, 482, 1)])
def test_boxes_scale_with_the_picture(width, height, scale):
    frame = (641, 481) if scale == 1 else (640, 480)  # an odd frame is padded, not scaled
    drawn = draw_tracks(grey(width, height), [track(320, 240, 480, 360)], frame)
    _, bottom, left, right = changed(grey(width, height), drawn)
    assert abs(left - 320 * scale) <= 4
    assert abs(right - 480 * scale) <= 4
    assert abs(bottom - 360 * scale) <= 4


def test_a_box_partly_outside_is_cut_at_the_edge():
    drawn = draw_tracks(grey(640, 480), [track(-50, 300, 100, 900)], (640, 480))
    y, _ = planes(drawn)
    assert (y[300:480, 0] == 180).all()
    assert (y[479, 0:100] == 180).all()


def test_a_box_wholly_outside_is_not_drawn():
    boxes = [track(-50, -50, -10, -10), track(700, 10, 800, 90), track(10, 10, 10, 10)]
    assert (draw_tracks(grey(640, 480), boxes, (640, 480)) == grey(640, 480)).all()


def test_a_tag_at_the_right_edge_stays_inside():
    drawn = draw_tracks(grey(320, 240), [track(300, 100, 319, 200, label="hippopotamus")], (320, 240))
    assert changed(grey(320, 240), drawn)[2] < 260


def test_common_labels_are_told_apart():
    labels = ["dog", "cat", "sheep", "horse", "cow", "person"]
    colours = [np.array(label_colour(label)) for label in labels]
    assert min(np.linalg.norm(a - b) for a, b in combinations(colours, 2)) > 25


def test_small_odd_frames_and_long_labels_do_not_break():
    for width, height in [(2, 2), (16, 16), (160, 120)]:
        draw_tracks(grey(width, height), [track(0, 0, width, height, label="a very long label")], (width, height))
