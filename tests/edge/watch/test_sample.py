"""What the watch takes of a frame."""

from __future__ import annotations

import numpy as np
import pytest

from edge.types import Frame
from edge.watch.sample import WARM, Sampler, noise_variance, tile_means
from tests.edge.watch.pictures import at, place, seen, with_walker


@pytest.mark.parametrize("noise", [1.0, 3.0, 6.0])
@pytest.mark.parametrize("gain", [1.0, 1.05])
def test_noise_is_told_from_what_moves_and_from_the_light(noise: float, gain: float) -> None:
    dim = 0.5 * place() + 60  # far from black and white, where noise is cut off
    before, now = seen(dim, 1, noise), seen(with_walker(gain * dim, 3), 2, noise)
    assert noise_variance(before, now) == pytest.approx(noise**2, rel=0.35)


def test_the_calm_picture_comes_late_and_has_little_noise() -> None:
    sampler, scene = Sampler(), np.full((480, 640), 90, np.float32)
    samples = [sampler.take(Frame(n, 0, at(n), seen(scene, n, 4.0))) for n in range(30)]
    assert [sample.calm is None for sample in samples] == [True] * (WARM - 1) + [False] * (31 - WARM)
    calm = samples[-1].calm
    assert calm is not None
    assert samples[-1].small.shape == calm.shape == (240, 320)
    assert calm.var() == pytest.approx(samples[-1].noise_var, rel=0.3)
    assert samples[-1].points.shape == (60, 80)


def test_small_frames_are_taken_as_they_are() -> None:
    sample = Sampler().take(Frame(0, 0, at(0), np.full((90, 120), 7, np.uint8)))
    assert sample.small.shape == (90, 120)
    assert sample.brightest == 7


def test_tile_means_are_of_whole_tiles() -> None:
    picture = np.zeros((35, 50), np.float32)
    picture[:16, 16:32] = 8
    picture[32:], picture[:, 48:] = 1000, 1000
    assert tile_means(picture).tolist() == [[0, 8, 0], [0, 0, 0]]
