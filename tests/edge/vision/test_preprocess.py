from __future__ import annotations

import numpy as np
import pytest

from edge.vision.preprocess import Letterbox, letterbox, squash


def gradient(height, width):
    rows, columns = np.mgrid[:height, :width]
    return ((rows * 2 + columns * 3) % 256).astype(np.uint8)


def test_squash_scales_to_0_to_1():
    white = np.full((480, 640), 255, np.uint8)
    tensor = squash(white, (256, 256))
    assert tensor.dtype == np.float32
    assert tensor.shape == (1, 1, 256, 256)
    np.testing.assert_array_equal(tensor, 1)


def test_a_frame_of_the_right_size_is_only_scaled():
    luma = gradient(256, 256)
    np.testing.assert_array_equal(squash(luma, (256, 256))[0, 0], luma * np.float32(1 / 255))


def test_shrinking_averages_areas():
    luma = gradient(512, 512)
    means = luma.reshape(256, 2, 256, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(squash(luma, (256, 256))[0, 0] * 255, means, atol=0.51)


@pytest.mark.parametrize("size", [(64, 64), (64, 400), (400, 64)])
def test_growing_an_axis_interpolates(size):
    step = np.zeros((2, 2), np.uint8)
    step[:, 1] = 255
    row = squash(step.repeat(80, axis=0).repeat(80, axis=1), (160, 320))[0, 0, 0]
    assert 0 < row[160] < 1, "INTER_LINEAR has values between"
    assert np.all(np.diff(row) >= 0)
    assert squash(gradient(160, 160), size).shape == (1, 1, *size)


def test_a_buffer_is_filled_and_returned():
    buffer = np.full((1, 1, 224, 224), np.nan, np.float32)
    luma = gradient(100, 150)
    assert squash(luma, (224, 224), out=buffer) is buffer
    np.testing.assert_array_equal(buffer, squash(luma, (224, 224)))


@pytest.mark.parametrize("view", [np.s_[::-1], np.s_[:, ::-1], np.s_[::2, ::3], np.s_[5:, :101]])
def test_any_strides(view):
    luma = gradient(300, 303)
    np.testing.assert_array_equal(squash(luma[view], (64, 64)), squash(luma[view].copy(), (64, 64)))


@pytest.mark.parametrize(
    "frame, inner",
    [
        ((480, 640), (240, 320)),
        ((640, 480), (320, 240)),
        ((320, 320), (320, 320)),
        ((100, 50), (320, 160)),
        ((1080, 1920), (180, 320)),
        ((481, 641), (240, 320)),
        ((1, 5000), (1, 320)),
    ],
)
def test_a_letterbox_keeps_the_aspect_and_pads_right_and_below(frame, inner):
    white = np.full(frame, 255, np.uint8)
    tensor, place = letterbox(white, (320, 320), 0.5)
    assert place == Letterbox(frame, inner)
    height, width = inner
    np.testing.assert_array_equal(tensor[0, 0, :height, :width], 1)
    np.testing.assert_array_equal(tensor[0, 0, height:], 0.5)
    np.testing.assert_array_equal(tensor[0, 0, :, width:], 0.5)


def test_a_letterbox_buffer_forgets_the_frame_before():
    buffer = np.empty((1, 1, 320, 320), np.float32)
    letterbox(np.full((640, 480), 255, np.uint8), (320, 320), 0.5, out=buffer)
    wide = gradient(480, 640)
    tensor, _ = letterbox(wide, (320, 320), 0.5, out=buffer)
    assert tensor is buffer
    np.testing.assert_array_equal(tensor, letterbox(wide, (320, 320), 0.5)[0])


@pytest.mark.parametrize("frame", [(480, 640), (481, 641), (33, 1000), (50, 20)])
def test_boxes_find_back_to_the_frame(frame):
    """A bright patch in the frame, located in the network's input, maps back to where it was."""
    height, width = frame
    luma = np.zeros(frame, np.uint8)
    top, bottom, left, right = height // 4, height // 2, width // 3, width * 2 // 3
    luma[top:bottom, left:right] = 255
    tensor, place = letterbox(luma, (320, 320), 0.0)
    rows, columns = np.nonzero(tensor[0, 0] > 0.5)
    box = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float32)
    pixel = max(width / place.inner[1], height / place.inner[0])
    np.testing.assert_allclose(place.boxes_to_frame(box), [[left, top, right, bottom]], atol=pixel)


def test_boxes_are_clipped_to_the_frame():
    place = Letterbox.fit((480, 640), (320, 320))
    boxes = np.array([[-5, -5, 400, 400], [10, 250, 20, 300]], np.float32)
    clipped = place.boxes_to_frame(boxes)
    np.testing.assert_array_equal(clipped, [[0, 0, 640, 480], [20, 480, 40, 480]])
    assert clipped.dtype == np.float32


def test_no_boxes_is_no_special_case():
    assert Letterbox.fit((480, 640), (320, 320)).boxes_to_frame(np.zeros((0, 4), np.float32)).shape == (0, 4)
