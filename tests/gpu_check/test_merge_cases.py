"""The judge of the merge kernels: passes those that are right, and sees each thing that can be wrong."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from edge.kernels.launch import Launch
from edge.kernels.parameters import FilterParams, MergeParams
from tests.gpu_check.merge_cases import Case, WrongError, cases, judge, judge_filter, small
from tests.kernels.build import GpuOnCpu


class HostMemory:
    """Arrays of this process."""

    def __init__(self) -> None:
        self.arrays: dict[int, np.ndarray] = {}

    def put(self, content):
        raw = np.empty(content.size + 16, np.uint8)
        start = -raw.ctypes.data % 16
        array = raw[start : start + content.size]
        array[:] = content
        self.arrays[array.ctypes.data] = array
        return array.ctypes.data

    def get(self, address):
        return self.arrays[address].copy()

    def clear(self):
        self.arrays.clear()


@pytest.fixture(scope="module")
def kernels():
    return GpuOnCpu()


FRAME = Case(1, (40, 64), (9, 11), picture=True, slack=7)


def test_the_kernels_as_they_are_pass(kernels):
    chosen = [case for case in cases(12, seed=5) if small(case)]
    assert len(chosen) >= 10
    for case in chosen:
        memory = HostMemory()
        assert judge(case, kernels._launch, memory)["highest"] <= 2
        assert not memory.arrays
    assert judge_filter(5, kernels._launch, HostMemory()) < 1e-3


def test_seeds_give_other_frames():
    assert list(cases(5, 1)) == list(cases(5, 1))
    assert [c.size for c in cases(5, 1)][-5:] != [c.size for c in cases(5, 2)][-5:]


def changed(kernels, kind, change):
    """The kernels, launched with other parameters."""

    def launch(each: Launch) -> None:
        if len(each.params) == ctypes.sizeof(kind):
            params = kind.from_buffer_copy(each.params)
            change(params)
            each = Launch(each.kernel, each.grid, each.block, bytes(params))
        kernels._launch(each)

    return launch


def test_pixels_that_are_not_written_are_seen(kernels):
    def half_the_rows(params):
        params.height //= 2

    with pytest.raises(WrongError, match="not written"):
        judge(FRAME, changed(kernels, MergeParams, half_the_rows), HostMemory())


def test_bytes_beside_a_plane_are_seen(kernels):
    def further(params):
        params.y += 1

    with pytest.raises(WrongError, match="beside"):
        judge(FRAME, changed(kernels, MergeParams, further), HostMemory())


def test_wrong_colours_are_seen(kernels):
    def other_standard(params):
        params.bt709 = 1

    with pytest.raises(WrongError, match="off by"):
        judge(FRAME, changed(kernels, MergeParams, other_standard), HostMemory())


def test_a_wrong_filter_is_seen(kernels):
    def stronger(params):
        params.smoothing = 0.8

    with pytest.raises(WrongError, match="chroma filter is off"):
        judge_filter(1, changed(kernels, FilterParams, stronger), HostMemory())
