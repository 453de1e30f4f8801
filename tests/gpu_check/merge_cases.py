"""The merge kernels' answers on fresh random frames, judged by the float64 oracle; whoever runs them.

Every output lies among bytes that are poison, as it is itself before: what is not written shows, and what is written
beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from edge.kernels.base import PAPER, MergeStyle
from edge.kernels.cells import cell_luma
from edge.kernels.launch import Launch, cell_luma_launch, filter_launch, merge_launch
from edge.kernels.parameters import CellLumaParams, Cells, FilterParams, MergeParams
from edge.types import UInt8Array
from tests.kernels import oracle

MEAN_BELOW, HIGHEST = 0.5, 2.0  # levels
FILTER_WITHIN, CELLS_WITHIN = 1e-3, 0.51
MARGIN = 256
POISONS = (0x55, 0xAA)
FIXED_SIZES = ((720, 1280), (1081, 1921), (2, 2), (2, 8192), (8192, 2))


class WrongError(Exception):
    """A kernel does not compute what it should, or writes where it should not. The text says on which frame."""


class Memory(Protocol):
    """Where the kernels find their arrays."""

    def put(self, content: UInt8Array) -> int:
        """A copy of uint8[n], aligned to 16 bytes; its address."""

    def get(self, address: int) -> UInt8Array:
        """What lies there now."""

    def clear(self) -> None:
        """Free all."""


@dataclass(frozen=True)
class Case:
    """One frame and how it is merged. `slack`: bytes that rows are longer than needed; `offset`: from 16 bytes."""

    seed: int
    size: tuple[int, int]
    cells: tuple[int, int] = (128, 128)
    half: bool = False
    residual: bool = False
    style: MergeStyle = PAPER
    picture: bool = False
    slack: int = 0
    offset: int = 0


def cases(count: int, seed: int) -> Iterator[Case]:
    """The sizes that matter in each style, and `count` of any."""
    styles = [MergeStyle(), MergeStyle("guided", standard="bt709", siting="left")]
    for number, size in enumerate(FIXED_SIZES):
        yield from (Case(seed + number, size, style=style) for style in styles)
    rng = np.random.default_rng(seed)
    for number in range(count):
        style = MergeStyle(
            rng.choice(["nearest", "guided"]),
            float(rng.uniform(1, 60)),
            rng.choice(["bt601", "bt709"]),
            rng.choice(["centre", "left"]),
        )
        half, residual, picture = (bool(rng.integers(2)) for _ in range(3))
        size, cells = ((int(a), int(b)) for a, b in (rng.integers(1, 400, 2), rng.integers(1, 140, 2)))
        slack, offset = int(rng.choice([0, 1, 7, 16, 61])), int(rng.choice([0, 0, 0, 1, 8]))
        yield Case(seed + 100 + number, size, cells, half, residual, style, picture, slack, offset)


def judge(case: Case, launch: Callable[[Launch], None], memory: Memory) -> dict[str, float]:
    """Run a case's kernels twice, on two poisons.

    Returns:
        Mean and largest error in levels.

    Raises:
        WrongError: they are off by more than they may, or wrote too much or too little.
    """
    try:
        first, second = (_merged(case, launch, memory, poison) for poison in POISONS)
    finally:
        memory.clear()
    if any((one != other).any() for one, other in zip(first, second, strict=True)):
        raise WrongError(f"{case}: pixels were not written")
    errors = np.concatenate(
        [np.abs(found - wanted).ravel() for found, wanted in zip(first, _wanted(case), strict=True)]
    )
    mean, highest = float(errors.mean()), float(errors.max())
    # Of a few pixels the mean says nothing.
    if highest > HIGHEST or (errors.size > 10_000 and mean > MEAN_BELOW):
        raise WrongError(f"{case}: off by {mean:.3f} on average and {highest:.2f} at most")
    return {"mean": mean, "highest": highest}


def judge_filter(seed: int, launch: Callable[[Launch], None], memory: Memory) -> float:
    """The chroma filter and the luma of cells on random frames; the filter's largest error.

    Raises:
        WrongError: one is off by more than it may.
    """
    rng = np.random.default_rng(seed)
    (height, width), (rows, columns) = rng.integers(2, 500, 2), rng.integers(2, 140, 2)
    frames = rng.integers(0, 256, (2, height, width)).astype(np.uint8)
    ab = rng.uniform(-100, 100, (2, 2, rows, columns)).astype(np.float32)
    try:
        shown, (before, now) = _filtered(frames, ab, launch, memory)
    finally:
        memory.clear()
    for cells, frame in ((before, frames[0]), (now, frames[1])):
        if np.abs(cells - oracle.cell_luma(frame, (rows, columns))).max() > CELLS_WITHIN:
            raise WrongError(f"the luma of {rows}x{columns} cells in {height}x{width} pixels")
    error = float(np.abs(shown - oracle.filtered(ab[1], now, ab[0], before, 0.7)).max())
    if not error <= FILTER_WITHIN:
        raise WrongError(f"the chroma filter is off by {error:.3g}, {rows}x{columns} cells, seed {seed}")
    return error


def inputs(case: Case) -> tuple[UInt8Array, Any, Any]:
    """luma, ab and residual (or None) of a case."""
    rng = np.random.default_rng(case.seed)
    dtype = np.float16 if case.half else np.float32
    luma = rng.integers(0, 256, case.size, dtype=np.uint8)
    ab = rng.uniform(-110, 110, (2, *case.cells)).astype(dtype)
    residual = rng.uniform(-40, 40, case.cells).astype(dtype) if case.residual else None
    return luma, ab, residual


def _wanted(case: Case) -> list[Any]:
    luma, ab, residual = inputs(case)
    rgb = oracle.picture(luma, ab, residual, case.style)
    nv12 = oracle.nv12(rgb, case.style)
    rows = len(nv12) * 2 // 3
    return [nv12[:rows], nv12[rows:], *([rgb.reshape(len(rgb), -1)] if case.picture else [])]


def _merged(case: Case, launch: Callable[[Launch], None], memory: Memory, poison: int) -> list[UInt8Array]:
    """Y, CbCr and, where it is asked for, the picture."""
    luma, ab, residual = inputs(case)
    height, width = case.size
    even_height, even_width = height + height % 2, width + width % 2
    source = _Plane(case, memory, height, width, poison)
    source_address = source.filled(luma)
    y = _Plane(case, memory, even_height, even_width, poison)
    cbcr = _Plane(case, memory, even_height // 2, even_width, poison)
    params = MergeParams(luma=source_address, luma_pitch=source.pitch, width=width, height=height)
    params.y, params.y_pitch, params.cbcr, params.cbcr_pitch = y.empty(), y.pitch, cbcr.empty(), cbcr.pitch
    params.bt709, params.left = case.style.standard == "bt709", case.style.siting == "left"
    rows, columns = case.cells
    is_guided = case.style.upsampling == "guided"  # the oracle's own: rounded either way, a guide is right
    guide = memory.put(_bytes(cell_luma(luma, case.cells))) if is_guided else None
    params.cells = Cells(
        ab=memory.put(_bytes(ab)),
        residual=None if residual is None else memory.put(_bytes(residual)),
        luma=guide,
        width=columns,
        height=rows,
        half=case.half,
        guide_sigma=case.style.guide_sigma,
    )
    planes = [y, cbcr]
    if case.picture:
        planes.append(_Plane(case, memory, height, 3 * width, poison))
        params.picture, params.picture_pitch = planes[-1].empty(), planes[-1].pitch
    launch(merge_launch(params))
    return [plane.written() for plane in planes]


def _cell_luma(luma: int, case: Case, launch: Callable[[Launch], None], memory: Memory) -> int:
    (height, width), (rows, columns) = case.size, case.cells
    out = memory.put(np.full(rows * columns, POISONS[0], np.uint8))
    launch(cell_luma_launch(CellLumaParams(luma, out, width, width, height, columns, rows)))
    return out


def _filtered(
    frames: UInt8Array, ab: Any, launch: Callable[[Launch], None], memory: Memory
) -> tuple[Any, list[UInt8Array]]:
    """The second frame's chroma after the filter, and the luma of both frames' cells."""
    case = Case(0, (frames.shape[1], frames.shape[2]), (ab.shape[2], ab.shape[3]))
    cells = [_cell_luma(memory.put(frame.ravel()), case, launch, memory) for frame in frames]
    old, new = (memory.put(_bytes(each)) for each in ab)
    out = memory.put(np.full(ab[0].nbytes, POISONS[0], np.uint8))
    launch(filter_launch(FilterParams(new, old, cells[1], cells[0], out, case.cells[1], case.cells[0], 0, 0.7)))
    shown = memory.get(out).view(np.float32).reshape(ab[0].shape)
    return shown, [memory.get(address).reshape(case.cells) for address in cells]


class _Plane:
    """Rows of bytes between margins of poison."""

    def __init__(self, case: Case, memory: Memory, rows: int, row_bytes: int, poison: int) -> None:
        self.pitch = row_bytes + case.slack
        self._memory, self._poison = memory, poison
        self._shape, self._start = (rows, row_bytes), MARGIN + case.offset
        self._address = 0

    def empty(self) -> int:
        """The address of its first byte."""
        self._address = self._memory.put(self._block())
        return self._address + self._start

    def filled(self, values: UInt8Array) -> int:
        """The same of one that holds something."""
        block = self._block()
        self._rows(block)[:] = values
        self._address = self._memory.put(block)
        return self._address + self._start

    def written(self) -> UInt8Array:
        """Its rows now.

        Raises:
            WrongError: something beside them was written.
        """
        block = self._memory.get(self._address)
        values = np.array(self._rows(block))
        self._rows(block)[:] = self._poison
        if (block != self._poison).any():
            raise WrongError(f"bytes beside a plane of {self._shape} were written")
        return values

    def _block(self) -> UInt8Array:
        return np.full(self._start + self.pitch * self._shape[0] + MARGIN, self._poison, np.uint8)

    def _rows(self, block: UInt8Array) -> UInt8Array:
        rows, row_bytes = self._shape
        return block[self._start : self._start + self.pitch * rows].reshape(rows, self.pitch)[:, :row_bytes]


def _bytes(array: Any) -> UInt8Array:
    return np.frombuffer(array.tobytes(), np.uint8)


def small(case: Case) -> bool:
    """Whether a case is quick also where every access is watched."""
    return case.size[0] * case.size[1] <= 64 * 1024
