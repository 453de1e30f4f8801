"""The "no signal" card."""

from __future__ import annotations

import numpy as np
import pytest

from edge.video.card import no_signal_card, since_last_frame
from edge.video.nv12 import from_luma, planes

DETAIL = "rtsp://192.168.1.20:554/live: Could not open resource (Failed to connect) and so on and on " * 4


@pytest.mark.parametrize(
    ("age_s", "words"),
    [
        (None, "no frame yet"),
        (0.4, "0 s since the last frame"),
        (12.9, "12 s since the last frame"),
        (119.9, "119 s since the last frame"),
        (120, "2 min since the last frame"),
        (7199, "119 min since the last frame"),
        (7260, "2 h 1 min since the last frame"),
        (100_000, "27 h 46 min since the last frame"),
    ],
)
def test_the_age_is_told_in_the_unit_that_fits(age_s, words):
    assert since_last_frame(age_s) == words


@pytest.mark.parametrize("size", [(160, 120), (320, 240), (640, 480), (1280, 720), (1920, 1080)])
@pytest.mark.parametrize("has_last", [False, True])
@pytest.mark.parametrize("detail", ["", "/dev/video0: no frame for 2 s", DETAIL, "clip größe 夜.mp4", "x" * 500])
def test_the_text_is_bright_and_inside_the_picture(size, has_last, detail):
    width, height = size
    last = from_luma(np.full((height, width), 255, np.uint8)) if has_last else None
    y, chroma = planes(no_signal_card(last, detail, 3.0, size=size))
    assert y.shape == (height, width)
    assert (chroma == 128).all()
    rows, columns = np.nonzero(y > 150)
    assert rows.min() > 0.02 * height
    assert rows.max() < 0.98 * height
    assert columns.min() > 0.01 * width
    assert columns.max() < 0.99 * width
    assert np.median(y) < 90, "most of the card is dark"


def test_the_last_picture_is_seen_darkened():
    luma = np.zeros((120, 160), np.uint8)
    luma[:20, :80] = 255
    last = from_luma(luma)
    last[120:, :80] = 200
    y, chroma = planes(no_signal_card(last, "", None))
    assert y[5, 5] > y[5, 150] + 40
    assert y[5, 5] < 100
    assert 140 < chroma[0, 0, 0] < 160
    assert (last[:20, :80] == 235).all(), "the last picture itself is left alone"


def test_detail_and_age_are_written():
    plain = no_signal_card(None, "", 1.0)
    assert (no_signal_card(None, "", 2.0) != plain).any()
    assert (no_signal_card(None, "camera unplugged", 1.0) != plain).any()
