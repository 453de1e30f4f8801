"""lab_merge against the formulas of CIE 15, IEC 61966-2-1 and BT.601, written out here once more in float64."""

from __future__ import annotations

import numpy as np
import pytest

from edge.kernels.lab_merge import lab_merge, lab_merge_bgr

WHITE_D65 = (0.95047, 1.0, 1.08883)
LINEAR_SRGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
SIZES = [(480, 640), (481, 641), (64, 100), (65, 99), (129, 6), (2, 3), (1, 1)]


def reference_srgb(luma, ab):
    """float64[H, W, 3], R G B in 0..1: lightness of the grey, nearest chroma, Lab to sRGB, clipped when linear."""
    height, width = luma.shape
    rows = np.floor((np.arange(height) + 0.5) * ab.shape[1] / height).astype(int)
    columns = np.floor((np.arange(width) + 0.5) * ab.shape[2] / width).astype(int)
    a, b = ab.astype(np.float64)[:, rows][:, :, columns]
    grey = luma / 255
    y = np.where(grey <= 0.04045, grey / 12.92, ((grey + 0.055) / 1.055) ** 2.4)
    lightness = np.where(y > 216 / 24389, 116 * np.cbrt(y) - 16, y * 24389 / 27)
    f_y = (lightness + 16) / 116
    xyz = np.stack([_inverse_f(f_y + a / 500), _inverse_f(f_y), _inverse_f(f_y - b / 200)], axis=-1) * WHITE_D65
    linear = np.clip(xyz @ np.linalg.inv(LINEAR_SRGB_TO_XYZ).T, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _inverse_f(t):
    return np.where(t > 6 / 29, t**3, 3 * (6 / 29) ** 2 * (t - 4 / 29))


def reference_nv12(luma, ab):
    """float64[H2 * 3 // 2, W2], not rounded."""
    rgb = reference_srgb(luma, ab)
    rgb = np.pad(rgb, ((0, rgb.shape[0] % 2), (0, rgb.shape[1] % 2), (0, 0)), mode="edge")
    red, _, blue = np.moveaxis(rgb, -1, 0)
    y = rgb @ (0.299, 0.587, 0.114)
    cb, cr = (blue - y) / 1.772, (red - y) / 1.402
    height, width = y.shape
    blocks = np.stack([cb, cr], axis=-1).reshape(height // 2, 2, width // 2, 2, 2).mean(axis=(1, 3))
    return np.concatenate([16 + 219 * y, (128 + 224 * blocks).reshape(height // 2, width)])


def assert_close(values, reference):
    error = np.abs(values - reference)
    assert values.dtype == np.uint8
    assert values.shape == reference.shape
    assert error.mean() < 1
    assert np.mean(error <= 3) >= 0.999


def random_frame(size, *, chroma=110.0, cells=(128, 128), seed=0):
    rng = np.random.default_rng(seed)
    luma = rng.integers(0, 256, size, dtype=np.uint8)
    return luma, rng.uniform(-chroma, chroma, (2, *cells)).astype(np.float32)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("chroma", [20.0, 110.0])
def test_nv12_agrees_with_the_formulas(size, chroma):
    luma, ab = random_frame(size, chroma=chroma)
    assert_close(lab_merge(luma, ab), reference_nv12(luma, ab))


@pytest.mark.parametrize("size", SIZES)
def test_bgr_agrees_with_the_formulas(size):
    luma, ab = random_frame(size)
    assert_close(lab_merge_bgr(luma, ab), reference_srgb(luma, ab)[..., ::-1] * 255)


@pytest.mark.parametrize("low, high", [(0, 24), (120, 256), (230, 256)])
def test_dark_and_bright_frames_agree_too(low, high):
    luma, ab = random_frame((240, 320), chroma=60)
    luma = (low + luma.astype(int) % (high - low)).astype(np.uint8)
    assert_close(lab_merge(luma, ab), reference_nv12(luma, ab))


def test_every_extreme_colour_on_every_grey():
    corners = np.array([(a, b) for a in (-128, -110, 0, 110, 127) for b in (-128, -110, 0, 110, 127)], np.float32)
    luma = np.repeat(np.arange(256, dtype=np.uint8), 2)[:, None].repeat(2 * len(corners), axis=1)
    ab = np.ascontiguousarray(corners.T[:, None, :])
    assert_close(lab_merge(luma, ab), reference_nv12(luma, ab))


@pytest.mark.parametrize("cells", [(1, 1), (16, 20), (128, 128), (300, 200)])
def test_any_size_of_chroma(cells):
    luma, ab = random_frame((97, 131), cells=cells)
    assert_close(lab_merge(luma, ab), reference_nv12(luma, ab))


STRIDED = {
    "padded rows": lambda luma: luma[:, :101],
    "every second pixel": lambda luma: luma[::2, ::2],
    "upside down": lambda luma: luma[::-1],
    "mirrored": lambda luma: luma[:, ::-1],
    "transposed": lambda luma: luma.T,
}


@pytest.mark.parametrize("view", STRIDED.values(), ids=STRIDED.keys())
def test_any_strides(view):
    luma, ab = random_frame((150, 120))
    strided = view(luma)
    kept = strided.copy()
    flipped = ab[:, ::-1, ::-1]
    np.testing.assert_array_equal(lab_merge(strided, flipped), lab_merge(kept, flipped.copy()))
    np.testing.assert_array_equal(strided, kept)


def test_without_chroma_nv12_is_neutral_grey():
    luma = np.arange(256, dtype=np.uint8).reshape(16, 16)
    nv12 = lab_merge(luma, np.zeros((2, 128, 128), np.float32))
    np.testing.assert_array_equal(nv12[:16], np.rint(16 + luma * (219 / 255)))
    np.testing.assert_array_equal(nv12[16:], 128)


def test_without_chroma_a_still_is_its_luma():
    luma = np.arange(256, dtype=np.uint8).reshape(16, 16)
    still = lab_merge_bgr(luma, np.zeros((2, 128, 128), np.float32))
    np.testing.assert_array_equal(still, luma[..., None].repeat(3, axis=2))


def test_an_odd_frame_repeats_its_last_row_and_column():
    luma, ab = random_frame((7, 9))
    y = lab_merge(luma, ab)[:8]
    np.testing.assert_array_equal(y[7], y[6])
    np.testing.assert_array_equal(y[:, 9], y[:, 8])


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
def test_the_wrong_type_or_shape_is_refused(luma, ab):
    with pytest.raises(ValueError, match="must be"):
        lab_merge(luma, ab)
