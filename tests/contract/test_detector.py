"""What every Detector must do, run on each backend. The tiny recognizer finds the bright block: see tiny_bundle."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from edge.errors import BundleError
from edge.types import UInt8Array
from tests.contract.conftest import OpenBackend
from tests.edge.spoilt_bundle import with_labels


def frame(height: int = 480, width: int = 640, box: tuple[int, int, int, int] = (300, 100, 500, 200)) -> UInt8Array:
    luma = np.full((height, width), 50, np.uint8)
    left, top, right, bottom = box
    luma[top:bottom, left:right] = 255
    return luma


PLACES = [(480, 640, (300, 100, 500, 200)), (640, 480, (0, 0, 60, 640)), (1081, 1921, (1800, 900, 1921, 1081))]


@pytest.mark.parametrize(("height", "width", "box"), PLACES)
def test_boxes_are_in_source_pixels(opened: OpenBackend, tiny, height, width, box):
    found = opened(tiny).detector.detect(frame(height, width, box))
    np.testing.assert_allclose(found.boxes[0], box, atol=max(height, width) / 320)
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [width, height, width, height]).all()
    assert found.labels[0] == 1
    assert (found.boxes.dtype, found.labels.dtype, found.scores.dtype) == (np.float32, np.int64, np.float32)


def test_the_labels_are_the_bundle_s(opened: OpenBackend, tiny):
    assert opened(tiny).detector.labels == ("cat", "dog")


def test_the_best_come_first_and_the_lowest_score_can_be_chosen(opened: OpenBackend, tiny):
    detector = opened(tiny).detector
    np.testing.assert_allclose(detector.detect(frame()).scores, [0.9, 0.3], rtol=1e-6)
    np.testing.assert_allclose(detector.detect(frame(), 0.5).scores, [0.9], rtol=1e-6)
    assert len(detector.detect(np.zeros((480, 640), np.uint8), 0.5)) == 0


def test_a_box_in_the_padding_is_left_out(opened: OpenBackend, tiny):
    """A frame so flat that the box of slot 1, at (10, 10), lies below it."""
    assert len(opened(tiny).detector.detect(np.zeros((10, 640), np.uint8))) == 0


def test_any_strides(opened: OpenBackend, tiny):
    wide = np.full((480, 700), 255, np.uint8)
    wide[:, 30:670] = frame()
    found = opened(tiny).detector.detect(wide[:, 30:670])
    np.testing.assert_allclose(found.boxes[0], (300, 100, 500, 200), atol=2)


def test_what_was_found_is_kept(opened: OpenBackend, tiny):
    detector = opened(tiny).detector
    first = detector.detect(frame())
    kept = first.boxes.copy()
    detector.detect(frame(box=(0, 0, 100, 100)))
    np.testing.assert_array_equal(first.boxes, kept)


def test_a_label_that_the_manifest_does_not_have(opened: OpenBackend, tiny, tmp_path):
    detector = opened(with_labels(tiny, tmp_path / "bundle", "cat")).detector
    with pytest.raises(BundleError, match="tells label 1 of 1: pack the bundle again"):
        detector.detect(frame())


def test_both_lanes_at_once(opened: OpenBackend, tiny):
    """Detection in one thread, colour in another: each as if it were alone."""
    backend = opened(tiny, smoothing=0.0)
    luma = frame()
    backend.colourist.renew_context(luma)
    expected = backend.colourist.nv12(luma)
    found: list[np.ndarray] = []
    lane = threading.Thread(target=lambda: found.extend(backend.detector.detect(luma).boxes[0] for _ in range(20)))
    lane.start()
    pictures = [backend.colourist.nv12(luma) for _ in range(20)]
    lane.join()
    np.testing.assert_allclose(found, [[300, 100, 500, 200]] * 20, atol=2)
    assert all(np.array_equal(picture, expected) for picture in pictures)


def test_it_may_be_closed_twice(opened: OpenBackend, tiny):
    detector = opened(tiny).detector
    detector.close()
    detector.close()
