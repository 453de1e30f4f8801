"""What every Colourist must do, run on each backend; the CPU's networks and numpy's merge are the judge."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.bundles.bundle import load_bundle
from edge.kernels.base import ChromaState, MergeStyle
from edge.kernels.cells import cell_luma
from edge.kernels.portable import PortableMerge
from edge.types import UInt8Array
from edge.video.nv12 import from_luma
from edge.vision.networks import Networks
from tests.contract.conftest import NAN_ABOVE, OpenBackend

LEVELS = 2  # two roundings to 8 bits apart: of the resized picture and of the merged one
DARK, BRIGHT = np.full((48, 64), 10, np.uint8), np.full((48, 64), 240, np.uint8)
SIZES = [(2, 2), (2, 640), (121, 161), (240, 320), (480, 640), (721, 1281)]


@pytest.fixture(scope="module")
def networks(tiny: Path) -> Iterator[Networks]:
    with Networks(load_bundle(tiny), threads=1) as networks:
        yield networks


def scene(size: tuple[int, int] = (240, 320), low: int = 20, high: int = 190) -> UInt8Array:
    """uint8[H, W]: a slope with a darker block, so that every pixel has its own colour and edges are sharp."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    luma = low + (high - low) * (rows / size[0] + columns / size[1]) / 2
    luma[size[0] // 3 : size[0] // 2, size[1] // 4 : size[1] // 2] = low
    return luma.astype(np.uint8)


def judged(networks: Networks, luma: UInt8Array, seen: UInt8Array | None = None, **style: str) -> UInt8Array:
    """The picture of a frame in the scene whose context is that of `seen`."""
    ab = networks.colour(luma, networks.context(luma if seen is None else seen))
    return PortableMerge().nv12(luma, ab, style=MergeStyle(**style))


def assert_alike(picture: UInt8Array, expected: UInt8Array) -> None:
    assert (picture.shape, picture.dtype) == (expected.shape, np.uint8)
    difference = np.abs(picture.astype(int) - expected)
    assert difference.max() <= LEVELS
    assert difference.mean() < 0.5


@pytest.mark.parametrize("upsampling", ["nearest", "guided"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_frame_becomes_nv12(opened: OpenBackend, tiny, networks, size, upsampling):
    colourist = opened(tiny, smoothing=0.0, upsampling=upsampling).colourist
    luma = scene(size)
    colourist.renew_context(luma)
    assert_alike(colourist.nv12(luma), judged(networks, luma, upsampling=upsampling))


def test_frames_may_change_their_size(opened: OpenBackend, tiny, networks):
    colourist = opened(tiny).colourist
    first = scene((480, 640))
    colourist.renew_context(first)
    for size in ((480, 640), (480, 640), (121, 161), (480, 640)):
        luma = scene(size)
        colourist.forget()
        assert_alike(colourist.nv12(luma), judged(networks, luma, first))


def test_any_strides(opened: OpenBackend, tiny, networks):
    colourist = opened(tiny, smoothing=0.0).colourist
    luma = scene((240, 320))
    colourist.renew_context(luma)
    wide = np.zeros((240, 400), np.uint8)
    wide[:, 40:360] = luma
    for view in (wide[:, 40:360], np.asfortranarray(luma), luma[::-1][::-1]):
        assert_alike(colourist.nv12(view), judged(networks, luma))


def test_the_context_holds_until_it_is_renewed(opened: OpenBackend, tiny, networks):
    colourist = opened(tiny, smoothing=0.0).colourist
    for seen in (DARK, BRIGHT):
        colourist.renew_context(seen)
        for luma in (scene(), scene(high=100)):
            assert_alike(colourist.nv12(luma), judged(networks, luma, seen))


def test_pictures_are_new_arrays(opened: OpenBackend, tiny):
    colourist = opened(tiny).colourist
    colourist.renew_context(scene())
    first = colourist.nv12(scene())
    kept = first.copy()
    colourist.nv12(scene(high=250)[::-1])
    np.testing.assert_array_equal(first, kept)


class TestOverTime:
    """The chroma filter, on a picture that does not change while the scene's context does."""

    SMOOTHING = 0.75

    def test_colour_does_not_flicker(self, opened: OpenBackend, tiny, networks):
        colourist = opened(tiny, smoothing=self.SMOOTHING).colourist
        luma, kernel = scene(), PortableMerge()
        state: ChromaState | None = None
        for seen in (DARK, BRIGHT, BRIGHT):
            state = kernel.filter_chroma(luma, networks.colour(luma, networks.context(seen)), state, self.SMOOTHING)
            colourist.renew_context(seen)
            assert_alike(colourist.nv12(luma), kernel.nv12(luma, state.ab))

    def test_it_starts_anew_when_told_to(self, opened: OpenBackend, tiny, networks):
        colourist = opened(tiny, smoothing=self.SMOOTHING).colourist
        colourist.renew_context(DARK)
        colourist.nv12(scene())
        colourist.forget()
        colourist.renew_context(BRIGHT)
        assert_alike(colourist.nv12(scene()), judged(networks, scene(), BRIGHT))

    def test_another_stream_has_its_own(self, opened: OpenBackend, tiny, networks):
        one, other = (opened(tiny, smoothing=self.SMOOTHING).colourist for _ in range(2))
        one.renew_context(DARK)
        one.nv12(scene())
        other.renew_context(BRIGHT)
        assert_alike(other.nv12(scene()), judged(networks, scene(), BRIGHT))

    def test_it_goes_on_when_the_size_changes(self, opened: OpenBackend, tiny, networks):
        """What it keeps belongs to cells, of which there are as many in each frame."""
        colourist = opened(tiny, smoothing=self.SMOOTHING).colourist
        small, large = (np.full(size, 90, np.uint8) for size in ((240, 320), (480, 640)))
        context = {"dark": networks.context(DARK), "bright": networks.context(BRIGHT)}
        kernel = PortableMerge()
        state = kernel.filter_chroma(small, networks.colour(small, context["dark"]), None, self.SMOOTHING)
        state = kernel.filter_chroma(large, networks.colour(large, context["bright"]), state, self.SMOOTHING)
        colourist.renew_context(DARK)
        colourist.nv12(small)
        colourist.renew_context(BRIGHT)
        assert_alike(colourist.nv12(large), kernel.nv12(large, state.ab))


class TestNotFinite:
    """A colorizer that gives NaN for bright pixels."""

    def test_the_frame_goes_out_grey_and_is_counted(self, opened: OpenBackend, brittle, networks):
        colourist = opened(brittle, smoothing=0.5).colourist
        good, bad = scene(), scene()
        bad[100:110, 100:110] = NAN_ABOVE + 20
        colourist.renew_context(DARK)
        assert_alike(colourist.nv12(good), judged(networks, good, DARK))
        assert colourist.grey_frames == 0
        for count in (1, 2):
            np.testing.assert_array_equal(colourist.nv12(bad), from_luma(bad))
            assert colourist.grey_frames == count
        colourist.renew_context(BRIGHT)
        assert_alike(colourist.nv12(good), judged(networks, good, BRIGHT))
        assert colourist.grey_frames == 2

    def test_an_odd_size(self, opened: OpenBackend, brittle):
        colourist = opened(brittle).colourist
        bad = np.full((121, 161), 255, np.uint8)
        colourist.renew_context(DARK)
        np.testing.assert_array_equal(colourist.nv12(bad), from_luma(bad))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("smoothing", [0.0, 0.75])
def test_the_cells_of_the_newest_frame(opened: OpenBackend, tiny, size, smoothing):
    """Whatever happens to its colours."""
    colourist = opened(tiny, smoothing=smoothing).colourist
    colourist.renew_context(scene(size))
    for luma in (scene(size), scene(size, high=120)):
        colourist.nv12(luma)
        cells = colourist.cells
        assert cells.dtype == np.uint8
        difference = np.abs(cells.astype(int) - cell_luma(luma, (cells.shape[0], cells.shape[1])))
        assert difference.max() <= 1


def test_the_cells_of_a_grey_frame(opened: OpenBackend, brittle):
    colourist = opened(brittle).colourist
    colourist.renew_context(DARK)
    colourist.nv12(DARK)
    colourist.nv12(BRIGHT)
    assert colourist.grey_frames == 1
    assert (colourist.cells == BRIGHT[0, 0]).all()


@pytest.mark.parametrize("size", [*SIZES, (2, 2), (1, 1)], ids=str)
def test_without_colour(opened: OpenBackend, tiny, size):
    """And the filter goes on as if nothing had been asked."""
    one, other = (opened(tiny, smoothing=0.75).colourist for _ in range(2))
    levels = np.resize(np.arange(256, dtype=np.uint8), size)
    for colourist in (one, other):
        colourist.renew_context(scene())
    for luma in (scene(), scene(high=120)):
        expected = other.nv12(luma)
        np.testing.assert_array_equal(one.nv12(luma), expected)
        np.testing.assert_array_equal(one.grey(levels), from_luma(levels))


def test_it_may_be_used_from_another_thread(opened: OpenBackend, tiny, networks):
    """Opened in the main thread, used in a lane's, closed in the main thread."""
    colourist = opened(tiny, smoothing=0.0).colourist
    pictures: list[UInt8Array] = []

    def lane() -> None:
        colourist.renew_context(scene())
        pictures.append(colourist.nv12(scene()))

    thread = threading.Thread(target=lane)
    thread.start()
    thread.join()
    assert_alike(pictures[0], judged(networks, scene()))
    colourist.close()


def test_it_may_be_closed_twice(opened: OpenBackend, tiny):
    colourist = opened(tiny).colourist
    colourist.close()
    colourist.close()
