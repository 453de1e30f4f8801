"""JPEGs of a bounded size: they fit, can be read, and are as good as they can be."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge.commands.pictures import jpeg


def noise(*shape: int) -> np.ndarray:
    """What compresses worst."""
    return np.random.default_rng(7).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("shape", [(480, 640), (480, 640, 3), (2, 2), (1, 4000), (2160, 3840)])
@pytest.mark.parametrize("max_kib", [8, 100])
def test_it_fits_and_keeps_its_proportions(shape: tuple[int, ...], max_kib: int) -> None:
    data, (width, height) = jpeg(noise(*shape), max_kib * 1024)
    assert len(data) <= max_kib * 1024
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert read.shape == (height, width, *shape[2:])
    if min(shape[:2]) > 100:
        assert width / height == pytest.approx(shape[1] / shape[0], rel=0.03)


def test_what_fits_is_not_made_smaller() -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8), (200, 2))
    data, size = jpeg(ramp, 64 * 1024)
    assert size == (512, 200)
    assert np.abs(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE).astype(int) - ramp).max() <= 4


def test_more_room_gives_a_better_picture() -> None:
    picture = cv2.GaussianBlur(noise(480, 640), (0, 0), 2)
    sizes = [len(jpeg(picture, kib * 1024)[0]) for kib in (8, 16, 32, 64, 256)]
    assert sizes == sorted(sizes) and sizes[0] > 2 * 1024, "not far below what is allowed"
