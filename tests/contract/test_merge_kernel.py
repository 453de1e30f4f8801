"""What every merge kernel must do, run on each implementation, the GPU's on a CPU; a float64 oracle is the judge."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.kernels.base import PAPER, MergeKernel, MergeStyle
from edge.kernels.native import NativeMerge
from edge.kernels.portable import PortableMerge
from tests.kernels import oracle
from tests.kernels.build import GpuOnCpu, native_library

SIZES = [(480, 640), (481, 641), (64, 100), (65, 99), (129, 6), (2, 3), (2, 2), (1, 1)]
STYLES = [
    MergeStyle(upsampling, 12.0, standard, siting)
    for upsampling in ("nearest", "guided")
    for standard, siting in (("bt601", "centre"), ("bt709", "left"))
]
OPEN = {
    "numpy": PortableMerge,
    "native": lambda: NativeMerge(native_library(), threads=2),
    "gpu": GpuOnCpu,
}


@pytest.fixture(scope="module", params=OPEN)
def kernel(request) -> MergeKernel:
    return OPEN[request.param]()


def named(style):
    return f"{style.upsampling}-{style.standard}-{style.siting}"


def assert_close(values, reference, *, highest=2.0):
    error = np.abs(values - reference)
    assert values.dtype == np.uint8
    assert values.shape == reference.shape
    assert error.mean() < 0.5
    assert error.max() <= highest


def random_frame(size, *, chroma=110.0, cells=(128, 128), seed=0):
    rng = np.random.default_rng(seed)
    luma = rng.integers(0, 256, size, dtype=np.uint8)
    return luma, rng.uniform(-chroma, chroma, (2, *cells)).astype(np.float32)


def residual_for(ab, seed=0):
    return np.random.default_rng(seed).uniform(-40, 40, ab.shape[1:]).astype(ab.dtype)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("style", STYLES, ids=named)
@pytest.mark.parametrize("with_residual", [False, True], ids=["plain", "residual"])
def test_nv12_and_stills_agree_with_the_oracle(kernel, size, style, with_residual):
    luma, ab = random_frame(size, cells=(32, 40))
    residual = residual_for(ab) if with_residual else None
    rgb = oracle.picture(luma, ab, residual, style)
    assert_close(kernel.bgr(luma, ab, residual=residual, style=style), rgb[..., ::-1])
    assert_close(kernel.nv12(luma, ab, residual=residual, style=style), oracle.nv12(rgb, style))


@pytest.mark.parametrize("low, high", [(0, 24), (120, 256), (230, 256)])
def test_dark_and_bright_frames_agree_too(kernel, low, high):
    luma, ab = random_frame((240, 320), chroma=60)
    luma = (low + luma.astype(int) % (high - low)).astype(np.uint8)
    assert_close(kernel.nv12(luma, ab), oracle.nv12(oracle.picture(luma, ab)))


@pytest.mark.parametrize("name, step", [("native", 1), ("gpu", 9), ("numpy", 9)])
def test_every_colour_on_every_grey(name, step):
    """All of L x a x b in 8 bits: luma down, b across, one picture for each a; each colour a block of 2x2 pixels."""
    kernel = OPEN[name]()
    chroma = np.arange(-128, 128, dtype=np.float32)
    grey = np.arange(256, dtype=np.uint8)[:, None].repeat(256, axis=1)
    luma, level = grey.repeat(2, axis=0).repeat(2, axis=1), oracle.lightness(grey)
    total = {"rgb": 0.0, "nv12": 0.0}
    for a in chroma[::step]:
        ab = np.stack([np.full((256, 256), a, np.float32), chroma[None].repeat(256, axis=0)])
        rgb = oracle.srgb(level, ab[0], ab[1])
        video = oracle.nv12(rgb.repeat(2, axis=0).repeat(2, axis=1))
        errors = {"rgb": kernel.bgr(luma, ab)[::2, ::2, ::-1] - rgb, "nv12": kernel.nv12(luma, ab) - video}
        for what, error in errors.items():
            assert np.abs(error).max() <= 2
            total[what] += float(np.abs(error).mean())
    assert max(total.values()) / len(chroma[::step]) < 0.5


@pytest.mark.parametrize("cells", [(1, 1), (16, 20), (128, 128), (300, 200)])
@pytest.mark.parametrize("style", [PAPER, MergeStyle("guided")], ids=named)
def test_any_number_of_cells(kernel, cells, style):
    luma, ab = random_frame((97, 131), cells=cells)
    assert_close(kernel.nv12(luma, ab, style=style), oracle.nv12(oracle.picture(luma, ab, None, style), style))


STRIDED = {
    "padded rows": lambda luma: luma[:, :101],
    "every second pixel": lambda luma: luma[::2, ::2],
    "upside down": lambda luma: luma[::-1],
    "mirrored": lambda luma: luma[:, ::-1],
    "transposed": lambda luma: luma.T,
}


@pytest.mark.parametrize("view", STRIDED.values(), ids=STRIDED.keys())
def test_any_strides(kernel, view):
    luma, ab = random_frame((150, 120))
    strided = view(luma)
    kept = strided.copy()
    flipped = ab[:, ::-1, ::-1]
    np.testing.assert_array_equal(kernel.nv12(strided, flipped), kernel.nv12(kept, flipped.copy()))
    np.testing.assert_array_equal(strided, kept)


@pytest.mark.parametrize("style", STYLES, ids=named)
def test_without_chroma_a_picture_is_its_luma(kernel, style):
    luma, ab = np.arange(256, dtype=np.uint8).reshape(16, 16), np.zeros((2, 128, 128), np.float32)
    nv12 = kernel.nv12(luma, ab, style=style)
    np.testing.assert_array_equal(nv12[:16], np.rint(16 + luma * (219 / 255)))
    np.testing.assert_array_equal(nv12[16:], 128)
    np.testing.assert_array_equal(kernel.bgr(luma, ab, style=style), luma[..., None].repeat(3, axis=2))


def test_an_odd_frame_repeats_its_last_row_and_column(kernel):
    luma, ab = random_frame((7, 9))
    y = kernel.nv12(luma, ab)[:8]
    np.testing.assert_array_equal(y[7], y[6])
    np.testing.assert_array_equal(y[:, 9], y[:, 8])


@pytest.mark.parametrize("style", [PAPER, MergeStyle("guided")], ids=named)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("plane", [0, 1])
def test_what_is_not_a_number_is_grey(kernel, style, bad, plane):
    luma, ab = random_frame((40, 60), cells=(10, 10))
    spoilt, grey = ab.copy(), ab.copy()
    spoilt[plane, 3:6, 2:7] = bad
    grey[:, 3:6, 2:7] = 0
    np.testing.assert_array_equal(kernel.nv12(luma, spoilt, style=style), kernel.nv12(luma, grey, style=style))
    all_bad = np.full_like(ab, bad)
    np.testing.assert_array_equal(kernel.nv12(luma, all_bad, style=style)[40:], 128)


@pytest.mark.parametrize("style", [PAPER, MergeStyle("guided")], ids=named)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_residual_that_is_not_a_number_adds_nothing(kernel, style, dtype, bad):
    luma, ab = random_frame((40, 60), cells=(10, 10))
    ab = ab.astype(dtype)
    spoilt, none = residual_for(ab), residual_for(ab)
    spoilt[3:6, 2:7], none[3:6, 2:7] = bad, 0
    pictures = [kernel.nv12(luma, ab, residual=residual, style=style) for residual in (spoilt, none)]
    np.testing.assert_array_equal(*pictures)


def test_chroma_beyond_its_range_is_cut(kernel):
    luma, ab = random_frame((40, 60), chroma=1e30, cells=(10, 10))
    np.testing.assert_array_equal(kernel.nv12(luma, ab), kernel.nv12(luma, ab.clip(-128, 128)))


def test_half_precision_is_the_same_as_its_values_in_single(kernel):
    luma, ab = random_frame((40, 60), cells=(10, 10))
    half = ab.astype(np.float16)
    half[:, 0, :4] = [[0, 6e-8, -6e-5, 65504], [-0.0, np.inf, np.nan, 1]]  # zero, subnormal, normal, largest
    residual = residual_for(half)
    for style in (PAPER, MergeStyle("guided")):
        single = kernel.nv12(luma, half.astype(np.float32), residual=residual.astype(np.float32), style=style)
        np.testing.assert_array_equal(kernel.nv12(luma, half, residual=residual, style=style), single)


def test_a_residual_moves_lightness(kernel):
    luma, ab = np.full((8, 8), 100, np.uint8), np.zeros((2, 2, 2), np.float32)
    residual = np.array([[0, 10], [-200, 200]], np.float32)
    still = kernel.bgr(luma, ab, residual=residual)[..., 0]
    np.testing.assert_array_equal(still[:4, :4], 100)
    np.testing.assert_array_equal(still[4:], [[0] * 4 + [255] * 4] * 4)
    assert (still[:4, 4:] == round(float(oracle.srgb(oracle.lightness(100) + 10, 0, 0)[0]))).all()


class TestGuided:
    style = MergeStyle("guided")

    def test_one_colour_stays_that_colour(self, kernel):
        luma, _ = random_frame((60, 80))
        ab = np.broadcast_to(np.array([30, -40], np.float32)[:, None, None], (2, 16, 16))
        difference = kernel.nv12(luma, ab, style=self.style).astype(int) - kernel.nv12(luma, ab)
        assert np.abs(difference).max() <= 1

    def test_each_colour_lies_between_those_of_its_cells(self):
        """In the oracle, which the kernels follow: the four cells around, whose least and greatest bound it."""
        luma, ab = random_frame((90, 70), cells=(9, 11))
        chroma = oracle.upsampled(ab.astype(np.float64), luma, self.style)
        rows, columns = (oracle.bilinear(*sizes)[1] for sizes in ((90, 9), (70, 11)))
        cells = ab.astype(np.float64)
        around = [cells[:, row][:, :, column] for row, column in itertools.product(rows, columns)]
        assert (chroma >= np.min(around, axis=0) - 1e-9).all()
        assert (chroma <= np.max(around, axis=0) + 1e-9).all()

    def test_on_an_even_grey_it_is_bilinear(self, kernel):
        luma = np.full((64, 64), 120, np.uint8)
        ab = np.zeros((2, 8, 8), np.float32)
        ab[0] = np.linspace(-30, 30, 8)  # so is a across the frame, but for the outer half cells
        ramp = np.interp((np.arange(64) + 0.5) / 8 - 0.5, np.arange(8), ab[0, 0])
        rgb = oracle.srgb(oracle.lightness(luma), np.broadcast_to(ramp, (64, 64)), 0)
        assert_close(kernel.bgr(luma, ab, style=self.style), rgb[..., ::-1])

    def test_colour_ends_at_an_edge_inside_a_cell(self, kernel):
        """Cells are 16 pixels wide; the edge is in the middle of one. Away from it each side has its own colour."""
        luma = np.full((64, 128), 40, np.uint8)
        luma[:, 56:] = 200  # a quarter of the way between the centres of the fourth and the fifth cell
        ab = np.zeros((2, 4, 8), np.float32)
        ab[0, :, :4], ab[0, :, 4:] = -50, 50
        ab[0, :, 3] = -50
        left, right = oracle.srgb(oracle.lightness(np.array([40, 200])), np.array([-50, 50]), 0)
        guided = kernel.bgr(luma, ab, style=self.style)[..., ::-1].astype(float)
        nearest = kernel.bgr(luma, ab)[..., ::-1].astype(float)
        strip = slice(56, 64)  # bright pixels over a dark cell
        assert np.abs(nearest[:, strip] - right).mean() > 20
        assert np.abs(guided[:, strip] - right).mean() < np.abs(nearest[:, strip] - right).mean() / 3
        assert np.abs(guided[:, :48] - left).max() <= 2


class TestFilter:
    def frames(self, size=(96, 128), cells=(24, 32)):
        rng = np.random.default_rng(3)
        first = rng.integers(40, 200, size).astype(np.uint8)
        second = first.copy()
        second[:, size[1] // 2 :] = rng.integers(0, 256, (size[0], size[1] - size[1] // 2))
        return first, second, *rng.uniform(-60, 60, (2, 2, *cells)).astype(np.float32)

    @pytest.mark.parametrize("size", [(96, 128), (37, 53), (2, 2), (1, 1)])
    @pytest.mark.parametrize("cells", [(24, 32), (1, 1), (2, 3)])
    def test_agrees_with_the_oracle(self, kernel, size, cells):
        before, now, old, new = self.frames(size, cells)
        state = kernel.filter_chroma(before, old, None, 0.7)
        result = kernel.filter_chroma(now, new, state, 0.7)
        expected = oracle.filtered(new, result.cells, old, state.cells, 0.7)
        np.testing.assert_allclose(result.ab, expected, atol=1e-4)
        assert result.ab.dtype == np.float32

    def test_the_first_frame_stays_as_it_is(self, kernel):
        before, _, old, _ = self.frames()
        np.testing.assert_array_equal(kernel.filter_chroma(before, old, None, 0.9).ab, old)

    def test_chroma_of_another_size_starts_anew(self, kernel):
        before, now, old, new = self.frames()
        state = kernel.filter_chroma(before, old, None, 0.9)
        np.testing.assert_array_equal(kernel.filter_chroma(now, new[:, ::2], state, 0.9).ab, new[:, ::2])

    def test_the_result_lies_between_old_and_new_and_what_it_was_given_stays(self, kernel):
        before, now, old, new = self.frames()
        given = new.copy()
        state = kernel.filter_chroma(before, old, None, 0.9)
        result = kernel.filter_chroma(now, new, state, 0.9).ab
        assert (result >= np.minimum(old, new) - 1e-4).all()
        assert (result <= np.maximum(old, new) + 1e-4).all()
        np.testing.assert_array_equal(new, given)

    def test_a_cell_that_was_not_a_number_heals_at_once(self, kernel):
        before, _, old, new = self.frames()
        old[:, 5, 5] = np.nan
        state = kernel.filter_chroma(before, old, None, 0.9)
        result = kernel.filter_chroma(before, new, state, 0.9).ab
        np.testing.assert_array_equal(result[:, 5, 5], new[:, 5, 5])
        assert np.isfinite(result).all()

    def test_half_precision(self, kernel):
        before, now, old, new = (value.astype(np.float16) if value.ndim == 3 else value for value in self.frames())
        half = kernel.filter_chroma(now, new, kernel.filter_chroma(before, old, None, 0.9), 0.9)
        old, new = old.astype(np.float32), new.astype(np.float32)
        single = kernel.filter_chroma(now, new, kernel.filter_chroma(before, old, None, 0.9), 0.9)
        np.testing.assert_array_equal(half.ab, single.ab)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_frame_agrees_with_the_oracle(kernel, data):
    sizes = st.tuples(st.integers(1, 70), st.integers(1, 70))
    size, cells = data.draw(sizes), data.draw(sizes)
    style = data.draw(st.sampled_from(STYLES))
    luma, ab = random_frame(size, cells=cells, seed=data.draw(st.integers(0, 2**32)))
    extreme = st.sampled_from([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-40, 128, -128, 0])
    for value, index in data.draw(st.lists(st.tuples(extreme, st.integers(0, ab.size - 1)), max_size=20)):
        ab.flat[index] = value
    rgb = oracle.picture(luma, ab, None, style)
    error = np.abs(kernel.nv12(luma, ab, style=style) - oracle.nv12(rgb, style))
    assert error.max() <= 2
    assert np.abs(kernel.bgr(luma, ab, style=style) - rgb[..., ::-1]).max() <= 2


def test_a_large_and_flat_frame(kernel):
    for size in ((2, 8192), (8192, 2)):
        luma, ab = random_frame(size)
        assert_close(kernel.nv12(luma, ab), oracle.nv12(oracle.picture(luma, ab)))


@pytest.mark.parametrize("name", ["native", "numpy"])
def test_the_largest_frame(name):
    """Its last rows are merged as its first ones, which are the same: no offset overflows."""
    kernel = OPEN[name]()
    rows, _ = random_frame((64, 8192))
    ab = np.array([20, -30], np.float32)[:, None, None]
    nv12, expected = kernel.nv12(np.tile(rows, (128, 1)), ab), kernel.nv12(rows, ab)
    assert (nv12[:8192].reshape(128, 64, 8192) == expected[:64]).all()
    assert (nv12[8192:].reshape(128, 32, 8192) == expected[64:]).all()


@pytest.mark.parametrize(
    "luma, ab",
    [
        (np.zeros((4, 4), np.float32), np.zeros((2, 2, 2), np.float32)),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((2, 2, 2), np.float32)),
        (np.zeros((0, 4), np.uint8), np.zeros((2, 2, 2), np.float32)),
        (np.zeros((4, 4), np.uint8), np.zeros((2, 2, 2), np.float64)),
        (np.zeros((4, 4), np.uint8), np.zeros((1, 2, 2, 2), np.float32)),
    ],
)
def test_the_wrong_type_or_shape_is_refused(kernel, luma, ab):
    for work in (kernel.nv12, kernel.bgr):
        with pytest.raises(ValueError, match="must be"):
            work(luma, ab)


def test_a_residual_of_another_type_or_shape_is_refused(kernel):
    luma, ab = random_frame((4, 4), cells=(2, 2))
    for residual in (np.zeros((2, 3), np.float32), np.zeros((2, 2), np.float16)):
        with pytest.raises(ValueError, match=r"residual must be float32\[2, 2\]"):
            kernel.nv12(luma, ab, residual=residual)


@pytest.mark.parametrize("sigma", [0, 0.99, 256, float("nan")])
def test_a_sigma_out_of_range_is_refused(sigma):
    with pytest.raises(ValueError, match="guide_sigma"):
        MergeStyle("guided", sigma)
