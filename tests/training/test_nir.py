"""The imitation of near infrared: what each step does to light, and that nothing leaves the range."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edge.types import Float32Array, UInt8Array
from tests.training.photographs import write_photographs
from training.__main__ import main
from training.data.nir import LUMA_WEIGHTS, flash, luma_of, nir_like, red_edge, sensor, spectral_mix, tone
from training.tiles import GAP_PX, LINE_PX

LEAF, GREY, SKY, SKIN = (0.15, 0.45, 0.12), (0.4, 0.4, 0.4), (0.35, 0.55, 0.9), (0.8, 0.6, 0.5)
SIDES = st.integers(1, 24)


def patches(*colours: tuple[float, float, float]) -> Float32Array:
    """float32[1, N, 3]: one pixel of each colour."""
    return np.array([colours], np.float32)


def generators(count: int = 200) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in range(count)]


@settings(max_examples=40, deadline=None)
@given(
    rgb=npst.arrays(np.uint8, st.tuples(SIDES, SIDES, st.just(3))),
    seed=st.integers(0, 2**32),
)
def test_a_rendering_is_grey_of_the_same_size_and_repeats_by_its_seed(rgb: UInt8Array, seed: int) -> None:
    rendering = nir_like(rgb, np.random.default_rng(seed))
    assert rendering.dtype == np.uint8 and rendering.shape == rgb.shape[:2]
    np.testing.assert_array_equal(rendering, nir_like(rgb, np.random.default_rng(seed)))


@settings(max_examples=40, deadline=None)
@given(
    image=npst.arrays(np.float32, st.tuples(SIDES, SIDES), elements=st.floats(0, 1, width=32)),
    seed=st.integers(0, 2**32),
)
def test_each_step_keeps_type_size_and_range(image: Float32Array, seed: int) -> None:
    for step in (tone, flash, sensor):
        result = step(image, np.random.default_rng(seed))
        assert result.dtype == np.float32 and result.shape == image.shape
        assert result.min() >= 0 and result.max() <= 1


def test_another_seed_gives_another_rendering() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    assert not np.array_equal(*(nir_like(rgb, np.random.default_rng(seed)) for seed in (7, 8)))


@pytest.mark.parametrize("lift", [1.5, 4.0, 8.0])
def test_the_red_edge_lifts_leaves_and_leaves_all_else_alone(lift: float) -> None:
    rgb = patches(LEAF, GREY, SKY, SKIN)
    luma = rgb @ LUMA_WEIGHTS
    lifted = red_edge(luma, rgb, lift)
    assert lifted[0, 0] == pytest.approx(1 - (1 - luma[0, 0]) ** lift, abs=1e-5)  # wholly foliage
    np.testing.assert_array_equal(lifted[0, 1:], luma[0, 1:])


def test_the_red_edge_grows_with_the_lift_and_keeps_the_order_of_leaves() -> None:
    rgb = patches(*((0.3 * v, v, 0.3 * v) for v in (0.2, 0.4, 0.6, 0.8)))
    luma = rgb @ LUMA_WEIGHTS
    np.testing.assert_allclose(red_edge(luma, rgb, 1.0), luma, atol=1e-6)
    weak, strong = red_edge(luma, rgb, 2.0), red_edge(luma, rgb, 6.0)
    assert (strong > weak).all() and (weak > luma).all()
    assert (np.diff(strong) > 0).all()


def test_the_mix_brightens_foliage_darkens_sky_and_keeps_grey() -> None:
    rgb = patches(LEAF, SKY, GREY)
    luma = rgb @ LUMA_WEIGHTS
    change = np.mean([spectral_mix(rgb, rng) - luma for rng in generators()], axis=0)[0]
    assert change[0] > 0.1
    assert change[1] < -0.05
    assert change[2] == pytest.approx(0, abs=1e-5)


def test_tone_is_monotonic() -> None:
    ramp = np.linspace(0, 1, 256, dtype=np.float32)[None]
    curves = np.concatenate([tone(ramp, rng) for rng in generators()])
    assert (np.diff(curves) >= 0).all()
    assert np.ptp(curves, axis=1).min() >= 0.5  # the faintest contrast is 0.6, less what is clipped


def test_the_flash_falls_off_from_one_bright_place() -> None:
    white = np.full((40, 60), 0.5, np.float32)
    for rng in generators(50):
        lit = flash(white, rng)
        y, x = np.unravel_index(int(lit.argmax()), lit.shape)
        assert 0.25 * 60 <= x <= 0.75 * 60 and 0.35 * 40 <= y <= 0.85 * 40
        assert (np.diff(lit[y, x:]) <= 0).all() and (np.diff(lit[y, : x + 1]) >= 0).all()
        assert max(lit[0, 0], lit[0, -1], lit[-1, 0], lit[-1, -1]) < lit.max()


def test_the_sensor_adds_noise_without_bias_within_its_bounds() -> None:
    grey = np.full((100, 100), 0.5, np.float32)
    noisy = [sensor(grey, rng) for rng in generators(40)]
    assert np.mean(noisy) == pytest.approx(0.5, abs=0.002)
    deviations = np.std(noisy, axis=(1, 2))
    assert deviations.max() < np.hypot(0.04 * 0.5**0.5, 0.025) * 1.05  # shot and read noise at their largest
    assert np.ptp(deviations) > 0.005


def test_luma_is_the_runtimes_own() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    np.testing.assert_array_equal(luma_of(rgb), cv2.cvtColor(rgb[..., ::-1].copy(), cv2.COLOR_BGR2GRAY))


def test_the_sheet_shows_photographs_beside_their_renderings(tmp_path: Path) -> None:
    files = write_photographs(tmp_path / "photos", 3, size=(100, 150))
    files[1].write_bytes(b"broken")
    listed = tmp_path / "list.txt"
    listed.write_text(
        "# two whole ones, one broken\nphotos/" + "\nphotos/".join(f.name for f in files) + "\ngone.jpg\n"
    )
    arguments = ["sheet", "--images", str(listed), "--out", str(tmp_path / "sheet.png"), "--renderings", "3"]
    assert main(arguments) == 0
    picture = cv2.imread(str(tmp_path / "sheet.png"))
    assert picture is not None
    line, row, column = LINE_PX, 200 + LINE_PX + GAP_PX, 300 + GAP_PX
    assert picture.shape == (line + 2 * row, GAP_PX + 5 * column, 3)
    tiles = [picture[line : line + 200, GAP_PX + i * column :][:, :300].astype(int) for i in range(5)]
    spread = [np.ptp(tile, axis=2).max() for tile in tiles]
    assert spread[0] > 50 and spread[1:] == [0] * 4  # colour first, then grey ones
    assert all(np.abs(tiles[i] - tiles[j]).mean() > 1 for i in range(1, 5) for j in range(i))
    headings = [picture[:line, GAP_PX + i * column :][:, :300] for i in range(5)]
    captions = [picture[line + i * row + 200 :][: LINE_PX + GAP_PX] for i in range(2)]
    assert all(strip.min() < 100 for strip in (*headings, *captions))


@pytest.mark.parametrize(
    ("images", "out", "message"),
    [
        ("empty", "sheet.png", "no image"),
        ("absent", "sheet.png", "cannot read the list"),
        ("broken", "sheet.png", "none of the 1 images can be read"),
        ("good", "nowhere/sheet.png", "there is no folder"),
        ("good", "sheet.gif", r"ends in .png"),
    ],
)
def test_a_sheet_of_nothing_is_one_line(
    images: str, out: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("empty", "broken"):
        (tmp_path / name).mkdir()
    (tmp_path / "broken" / "a.jpg").write_bytes(b"broken")
    write_photographs(tmp_path / "good", 1)
    assert main(["sheet", "--images", str(tmp_path / images), "--out", str(tmp_path / out)]) != 0
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1 and message in errors[0]
