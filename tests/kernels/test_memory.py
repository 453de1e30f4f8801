"""What the kernels read and write: any pitch, any alignment, nothing beside the frame; and the luma of cells."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.kernels.base import MergeStyle
from edge.kernels.cells import cell_luma
from edge.kernels.native import NativeMerge
from edge.kernels.parameters import STRUCTS, CellLumaParams, Cells, MergeParams
from tests.kernels import oracle
from tests.kernels.build import GpuOnCpu, native_library

OPEN = {"native": lambda: NativeMerge(native_library(), threads=2), "gpu": GpuOnCpu}
MARGIN = 64
CPU_INFO = Path("/proc/cpuinfo")


@pytest.fixture(scope="module", params=OPEN)
def kernel(request) -> NativeMerge:
    return OPEN[request.param]()


@dataclass
class Plane:
    """Rows somewhere in a block of bytes that are all `poison` before."""

    rows: int
    row_bytes: int
    pitch: int
    offset: int
    poison: int

    def __post_init__(self) -> None:
        size = MARGIN + self.offset + self.pitch * self.rows + MARGIN
        raw = np.full(size + 16, self.poison, np.uint8)
        start = -raw.ctypes.data % 16
        self.bytes = raw[start : start + size]

    @property
    def address(self) -> int:
        return self.bytes.ctypes.data + MARGIN + self.offset

    @property
    def values(self) -> np.ndarray:
        start = MARGIN + self.offset
        rows = self.bytes[start : start + self.pitch * self.rows].reshape(self.rows, self.pitch)
        return rows[:, : self.row_bytes]

    def beside(self) -> np.ndarray:
        """The bytes that nobody may write."""
        mask = np.ones_like(self.bytes, bool)
        start = MARGIN + self.offset
        mask[start : start + self.pitch * self.rows].reshape(self.rows, self.pitch)[:, : self.row_bytes] = False
        return self.bytes[mask]


def test_both_sides_agree_on_the_structs(kernel):
    sizes = [kernel._library.tapetum_params_bytes(index) for index in range(len(STRUCTS))]
    assert sizes == [ctypes.sizeof(struct) for struct in STRUCTS]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_pitch_and_any_alignment(kernel, data):
    height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 80))
    wanted = data.draw(st.sampled_from([("nv12",), ("picture",), ("nv12", "picture")]))
    guided = data.draw(st.booleans())
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    frame = rng.integers(0, 256, (height, width), dtype=np.uint8)
    ab = rng.uniform(-100, 100, (2, 9, 13)).astype(np.float32)
    guide = cell_luma(frame, (9, 13))
    even_height, even_width = height + height % 2, width + width % 2

    def plane(rows: int, row_bytes: int) -> Plane:
        slack = data.draw(st.sampled_from([0, 1, 7, -row_bytes % 16, 16 + -row_bytes % 16]))
        offset = data.draw(st.sampled_from([0, 0, 0, 1, 8, 15]))
        return Plane(rows, row_bytes, row_bytes + slack, offset, data.draw(st.sampled_from([0, 85, 255])))

    luma, y, cbcr = plane(height, width), plane(even_height, even_width), plane(even_height // 2, even_width)
    picture = plane(height, 3 * width)
    luma.values[:] = frame
    before = luma.bytes.copy()
    params = MergeParams(luma=luma.address, luma_pitch=luma.pitch, width=width, height=height)
    guide_address = guide.ctypes.data if guided else None
    params.cells = Cells(ab.ctypes.data, None, guide_address, 13, 9, 0, 12.0)
    if "nv12" in wanted:
        params.y, params.y_pitch, params.cbcr, params.cbcr_pitch = y.address, y.pitch, cbcr.address, cbcr.pitch
    if "picture" in wanted:
        params.picture, params.picture_pitch = picture.address, picture.pitch
    kernel.run_merge(params)

    style = MergeStyle("guided" if guided else "nearest")
    rgb = oracle.picture(frame, ab, None, style)
    if "nv12" in wanted:
        assert np.abs(np.concatenate([y.values, cbcr.values]) - oracle.nv12(rgb, style)).max() <= 2
    if "picture" in wanted:
        assert np.abs(picture.values.reshape(height, width, 3) - rgb).max() <= 2
    for written in (y, cbcr, picture):
        assert (written.beside() == written.poison).all()
    np.testing.assert_array_equal(luma.bytes, before)


def test_threads_change_nothing():
    rng = np.random.default_rng(0)
    luma = rng.integers(0, 256, (97, 131), dtype=np.uint8)
    ab = rng.uniform(-100, 100, (2, 32, 32)).astype(np.float32)
    pictures = [NativeMerge(native_library(), threads=threads).nv12(luma, ab) for threads in (1, 2, 3, 100)]
    for picture in pictures[1:]:
        np.testing.assert_array_equal(picture, pictures[0])


@pytest.mark.parametrize("instructions", [(), ("-mavx2", "-mfma")], ids=["baseline", "avx2"])
def test_other_instruction_sets_give_the_same(instructions):
    """A machine with AVX-512 would never run the others."""
    if instructions and not {"avx2", "fma"} <= set(CPU_INFO.read_text(encoding="ascii").split()):
        pytest.skip("this CPU has no AVX2")
    library = native_library("-DTAPETUM_ANY_CPU", *instructions)
    rng = np.random.default_rng(0)
    luma = rng.integers(0, 256, (97, 131), dtype=np.uint8)
    ab = rng.uniform(-100, 100, (2, 32, 32)).astype(np.float32)
    ab.flat[::17], ab.flat[5::17], residual = np.nan, -np.inf, ab[0] / 10  # each vectorises in its own way
    for style in (MergeStyle(), MergeStyle("guided", siting="left")):
        expected = oracle.picture(luma, ab, residual, style)
        kernel = NativeMerge(library)
        assert np.abs(kernel.bgr(luma, ab, residual=residual, style=style)[..., ::-1] - expected).max() <= 2
        nv12 = kernel.nv12(luma, ab, residual=residual, style=style)
        assert np.abs(nv12 - oracle.nv12(expected, style)).max() <= 2


SIZES = [((480, 640), (128, 128)), ((96, 128), (24, 32)), ((97, 131), (13, 7)), ((5, 7), (16, 16)), ((40, 3), (8, 8))]


@pytest.mark.parametrize("size, cells", [*SIZES, ((1, 1), (3, 2)), ((3, 2), (1, 1))])
def test_the_luma_of_cells_is_their_mean(size, cells):
    luma = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    expected = oracle.cell_luma(luma, cells)
    on_gpu = np.full(cells, 77, np.uint8)
    params = CellLumaParams(luma.ctypes.data, on_gpu.ctypes.data, size[1], *size[::-1], *cells[::-1])
    GpuOnCpu().run_cell_luma(params)
    for values in (cell_luma(luma, cells), on_gpu):
        assert values.dtype == np.uint8
        assert np.abs(values - expected).max() <= 0.51
