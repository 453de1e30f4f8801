"""Luma to NV12 and back."""

from __future__ import annotations

import numpy as np
import pytest

from edge.video import nv12

LEVELS = np.arange(256, dtype=np.uint8)


def test_luma_is_coded_in_limited_range_with_rounding():
    y, chroma = nv12.planes(nv12.from_luma(LEVELS.reshape(16, 16)))
    assert np.array_equal(y.ravel(), np.round(16 + LEVELS.astype(float) * 219 / 255).astype(np.uint8))
    assert (chroma == 128).all()


def test_full_range_is_the_inverse_and_clips():
    coded, _ = nv12.planes(nv12.from_luma(LEVELS.reshape(16, 16)))
    back = nv12.to_full_range(coded).ravel()
    assert np.abs(back.astype(int) - LEVELS).max() <= 1
    assert (back[0], back[255]) == (0, 255)
    assert nv12.to_full_range(np.array([[0, 15, 16, 235, 236, 255]], np.uint8)).tolist() == [[0, 0, 0, 255, 255, 255]]


@pytest.mark.parametrize(("height", "width"), [(4, 6), (5, 6), (4, 7), (5, 7), (1, 1), (241, 321)])
def test_an_odd_size_repeats_its_last_row_and_column(height, width):
    luma = np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)
    coded = nv12.from_luma(luma)
    padded = np.pad(luma, ((0, height % 2), (0, width % 2)), mode="edge")
    assert coded.flags.c_contiguous
    assert coded.shape == (padded.shape[0] * 3 // 2, padded.shape[1])
    assert np.array_equal(nv12.planes(coded)[0], nv12.planes(nv12.from_luma(padded))[0])


def test_bgr_of_grey_is_the_luma():
    luma = np.tile(LEVELS, (4, 1))
    bgr = nv12.to_bgr(nv12.from_luma(luma))
    assert bgr.shape == (4, 256, 3)
    assert np.abs(bgr.astype(int) - luma[..., None]).max() <= 1


def test_bgr_of_a_colour():
    """Red in BT.601, limited range: Y' 81, Cb 90, Cr 240."""
    red = np.full((3, 2), 81, np.uint8)
    red[2] = 90, 240
    assert np.abs(nv12.to_bgr(red).astype(int) - (0, 0, 255)).max() <= 2


def test_planes_are_views():
    picture = nv12.from_luma(np.zeros((4, 4), np.uint8))
    y, chroma = nv12.planes(picture)
    y[0, 0], chroma[1, 1] = 99, (77, 88)
    assert picture[0, 0] == 99
    assert picture[5, 2:].tolist() == [77, 88]
