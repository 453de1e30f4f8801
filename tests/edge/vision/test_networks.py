"""The three networks of the tiny bundle, whose answers follow from the picture: see tiny_bundle."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from edge.bundles.bundle import load_bundle
from edge.errors import BundleError
from edge.vision.networks import Networks
from tests.edge.bundles.test_bundle import edit
from tests.edge.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module", params=["fp32", "int8"])
def networks(request, folder):
    with Networks(load_bundle(folder, request.param)) as networks:
        yield networks


def frame(height=480, width=640, box=(300, 100, 500, 200), background=50):
    luma = np.full((height, width), background, np.uint8)
    left, top, right, bottom = box
    luma[top:bottom, left:right] = 255
    return luma


def test_context_is_the_networks_vector(networks):
    context = networks.context(frame())
    assert context.shape == (1, 1000)
    np.testing.assert_allclose(context, frame().mean() / 255, atol=1e-3)


def test_colour_depends_on_frame_and_context(networks):
    grey = np.full((481, 641), 51, np.uint8)
    ab = networks.colour(grey, np.full((1, 1000), 7, np.float32))
    assert (ab.shape, ab.dtype) == ((2, 128, 128), np.float32)
    np.testing.assert_allclose(ab[0], 80 * 0.2 - 40 + 7, atol=1e-3)
    np.testing.assert_allclose(ab[1], -40 * 0.2 + 20, atol=1e-3)


def test_results_are_new_arrays(networks):
    context = networks.context(frame(background=0))
    ab = networks.colour(frame(background=0), context)
    kept = context.copy(), ab.copy()
    networks.colour(frame(background=200), networks.context(frame(background=200)))
    np.testing.assert_array_equal(context, kept[0])
    np.testing.assert_array_equal(ab, kept[1])


@pytest.mark.parametrize(
    "height, width, box",
    [(480, 640, (300, 100, 500, 200)), (640, 480, (0, 0, 60, 640)), (1080, 1920, (1800, 900, 1920, 1080))],
)
def test_boxes_are_in_source_pixels(networks, height, width, box):
    found = networks.detect(frame(height, width, box))
    pixel = max(height, width) / 320
    np.testing.assert_allclose(found.boxes[0], box, atol=pixel)
    assert (found.boxes >= 0).all() and (found.boxes <= [width, height, width, height]).all()
    assert found.labels[0] == 1
    assert (found.boxes.dtype, found.labels.dtype, found.scores.dtype) == (np.float32, np.int64, np.float32)


def test_detections_are_sorted_and_unused_slots_left_out(networks):
    np.testing.assert_allclose(networks.detect(frame(), 0.0).scores, [0.9, 0.3])


def test_the_lowest_score_can_be_chosen(networks):
    np.testing.assert_allclose(networks.detect(frame(), 0.5).scores, [0.9])
    assert len(networks.detect(np.zeros((480, 640), np.uint8), 0.5)) == 0


def test_boxes_outside_the_frame_are_left_out(networks):
    """A frame so flat that the box of slot 1, at (10, 10), lies in the padding."""
    assert len(networks.detect(np.zeros((10, 640), np.uint8))) == 0


def test_some_of_them(folder):
    """Each lane has its own."""
    with Networks(load_bundle(folder), ["recognizer"]) as networks:
        assert len(networks.detect(frame())) == 2
        with pytest.raises(KeyError, match="context"):
            networks.context(frame())


def test_two_lanes_at_once(networks):
    """Colour in one thread, detection in another: each as if it were alone."""
    found = []
    lane = threading.Thread(target=lambda: found.extend(networks.detect(frame()).boxes[0] for _ in range(20)))
    expected = networks.colour(frame(), networks.context(frame()))
    lane.start()
    coloured = [networks.colour(frame(), networks.context(frame())) for _ in range(20)]
    lane.join()
    assert len(found) == 20
    np.testing.assert_allclose(found, [[300, 100, 500, 200]] * 20, atol=2)
    np.testing.assert_array_equal(coloured, [expected] * 20)


def test_a_label_that_the_manifest_does_not_have_is_a_bundle_error(tmp_path):
    folder = make_tiny_bundle(tmp_path)
    edit(folder, "labels", value=["cat"])
    with (
        Networks(load_bundle(folder)) as networks,
        pytest.raises(BundleError, match="tells label 1 of 1: pack the bundle again"),
    ):
        networks.detect(frame())


def test_a_graph_of_the_wrong_shape_is_a_bundle_error(tmp_path):
    folder = make_tiny_bundle(tmp_path)
    edit(folder, "models", "recognizer", "inputs", "image", "shape", value=[1, 1, 640, 640])
    with pytest.raises(BundleError, match=r"recognizer_fp32\.onnx: its inputs are image float32\[1, 1, 320, 320\]"):
        Networks(load_bundle(folder))
