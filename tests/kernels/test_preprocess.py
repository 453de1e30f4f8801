"""The GPU's preprocessing beside OpenCV's, and what becomes of chroma that is not finite."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.kernels.parameters import STRUCTS, GreyParams
from edge.kernels.resize import ResizeParams, resize_launch
from edge.vision.preprocess import Letterbox, letterbox, squash
from tests.kernels.build import GpuOnCpu

LEVEL = 1 / 255
POISON = -77.0
SIZES = st.tuples(st.integers(1, 60), st.integers(1, 60))


@pytest.fixture(scope="module")
def gpu() -> GpuOnCpu:
    return GpuOnCpu()


def resized(
    gpu: GpuOnCpu, luma: np.ndarray, size: tuple[int, int], inner: tuple[int, int] | None = None, pad: float = 0.5
) -> np.ndarray:
    out = np.full((size[0] + 2, size[1]), POISON, np.float32)  # a row before and one after that nobody may write
    params = ResizeParams(
        luma=luma.ctypes.data,
        out=out[1:].ctypes.data,
        luma_pitch=luma.strides[0],
        scale=LEVEL,
        pad=pad,
    )
    params.height, params.width = luma.shape
    params.inner_height, params.inner_width = inner or size
    params.out_height, params.out_width = size
    gpu.run_resize(params)
    assert (out[[0, -1]] == POISON).all()
    return out[1:-1]


def assert_close(ours: np.ndarray, theirs: np.ndarray, share: float = 1.0) -> None:
    """At most one level apart, and that in at most `share` of all values."""
    levels = np.abs(ours - theirs) / LEVEL
    assert levels.max() < 1.01
    assert (levels > 0.01).mean() <= share


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


def test_both_sides_agree_on_the_structs(gpu: GpuOnCpu) -> None:
    structs = (*STRUCTS, GreyParams, ResizeParams)
    sizes = [gpu._library.tapetum_params_bytes(index) for index in range(len(structs))]
    assert sizes == [ctypes.sizeof(struct) for struct in structs]


CASES = {
    "HD": ((720, 1280), (256, 256)),
    "camera": ((1024, 1280), (256, 256)),
    "VGA to half": ((480, 640), (240, 320)),
    "a fifth": ((100, 150), (20, 30)),
    "odd": ((97, 131), (64, 64)),
    "same": ((64, 64), (64, 64)),
    "one axis the same": ((64, 200), (64, 64)),
    "larger": ((40, 60), (256, 256)),
    "larger and smaller": ((300, 20), (64, 64)),
    "one pixel": ((1, 1), (16, 16)),
    "to one pixel": ((33, 47), (1, 1)),
}


@pytest.mark.parametrize(("frame", "size"), CASES.values(), ids=CASES.keys())
def test_squash_is_opencvs(gpu: GpuOnCpu, frame: tuple[int, int], size: tuple[int, int]) -> None:
    luma = noise(*frame)
    # Half of all means of 2x2 and the like lie exactly between two levels; OpenCV does not always round them up.
    share = 0.3 if frame[0] % size[0] == 0 and frame[1] % size[1] == 0 else 0.001
    assert_close(resized(gpu, luma, size), squash(luma, size)[0, 0], share)


@settings(max_examples=80, deadline=None)
@given(frame=SIZES, size=SIZES, slack=st.integers(0, 9), offset=st.integers(0, 9), seed=st.integers(0, 2**32))
def test_any_size_and_any_pitch(
    gpu: GpuOnCpu, frame: tuple[int, int], size: tuple[int, int], slack: int, offset: int, seed: int
) -> None:
    rows = noise(frame[0], offset + frame[1] + slack, seed)
    luma = rows[:, offset : offset + frame[1]]
    assert_close(resized(gpu, luma, size), squash(luma, size)[0, 0])
    flipped = luma[::-1]  # a negative pitch
    assert_close(resized(gpu, flipped, size), squash(flipped, size)[0, 0])


@settings(max_examples=40, deadline=None)
@given(frame=SIZES, size=SIZES, pad=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_letterbox_is_the_cpus(
    gpu: GpuOnCpu, frame: tuple[int, int], size: tuple[int, int], pad: float, seed: int
) -> None:
    luma = noise(*frame, seed)
    expected, place = letterbox(luma, size, pad)
    ours = resized(gpu, luma, size, place.inner, pad)
    assert_close(ours, expected[0, 0])
    height, width = Letterbox.fit(frame, size).inner
    np.testing.assert_array_equal(ours[height:], np.float32(pad))
    np.testing.assert_array_equal(ours[:, width:], np.float32(pad))


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("size", [(1, 1), (7, 9), (100, 120)])
def test_even_frames_stay_even(gpu: GpuOnCpu, value: int, size: tuple[int, int]) -> None:
    luma = np.full((63, 85), value, np.uint8)
    np.testing.assert_allclose(resized(gpu, luma, size), value / 255, rtol=1e-6)


def test_the_largest_frame_does_not_overflow(gpu: GpuOnCpu) -> None:
    luma = np.full((8192, 8192), 255, np.uint8)
    for size in ((1, 1), (3, 8192)):
        np.testing.assert_allclose(resized(gpu, luma, size), 1, rtol=1e-6)


def test_the_kernel_goes_by_the_axes() -> None:
    def kernel(width: int, height: int) -> str:
        return resize_launch(
            ResizeParams(width=100, height=100, inner_width=width, inner_height=height, out_width=300, out_height=300)
        ).kernel

    assert kernel(100, 50) == "tapetum_resize_area"
    assert kernel(101, 50) == kernel(50, 101) == kernel(200, 200) == "tapetum_resize_linear"


@pytest.mark.parametrize("values", [1, 2, 1023, 1024, 1025, 32768])
@pytest.mark.parametrize("spoilt", [None, np.nan, np.inf, -np.inf])
def test_one_value_that_is_not_finite_makes_all_grey(gpu: GpuOnCpu, values: int, spoilt: float | None) -> None:
    chroma = np.random.default_rng(values).uniform(-100, 100, values).astype(np.float32)
    if spoilt is not None:
        chroma[values * 2 // 3] = spoilt
    before, told = chroma.copy(), np.array([77], np.int32)
    gpu.run_grey(GreyParams(chroma.ctypes.data, told.ctypes.data, values))
    assert told[0] == (spoilt is not None)
    np.testing.assert_array_equal(chroma, before if spoilt is None else np.zeros_like(before))
