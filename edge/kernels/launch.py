"""How `lab_merge.cu` is launched on a GPU: which kernel, over which grid, with which bytes as its one argument."""

from __future__ import annotations

from ctypes import Structure
from dataclasses import dataclass
from pathlib import Path

from edge.kernels.parameters import CellLumaParams, FilterParams, GreyParams, MergeParams

SOURCE = Path(__file__).with_name("lab_merge.cu")
ARCHITECTURES = ("sm_87", "sm_90", "sm_110")  # Orin, Hopper, Thor
KERNELS = (
    "tapetum_merge_nearest",
    "tapetum_merge_nearest_picture",
    "tapetum_merge_guided",
    "tapetum_merge_guided_picture",
    "tapetum_filter",
    "tapetum_cell_luma",
    "tapetum_grey",
)
_TILE_COLUMNS, _TILE_ROWS = 16, 2  # of one thread: kColumns in lab_merge.cu
_MERGE_BLOCK = (16, 8, 1)  # 128 threads: __launch_bounds__
_CELL_BLOCK = (32, 4, 1)
_GREY_BLOCK = (1024, 1, 1)  # the only one: it must know of all values

Extent = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Launch:
    """One kernel launch. `params` is the struct that the kernel takes by value."""

    kernel: str
    grid: Extent
    block: Extent
    params: bytes


def merge_launch(params: MergeParams) -> Launch:
    """Merge a frame. Its pointers are the GPU's.

    16 bytes are read or written at a time where a plane's pointer and pitch are multiples of 16, else byte by byte.
    """
    upsampling = "guided" if params.cells.luma else "nearest"
    picture = "_picture" if params.picture else ""
    tiles = (_ceil(params.width, _TILE_COLUMNS), _ceil(params.height, _TILE_ROWS))
    return launch_over(f"tapetum_merge_{upsampling}{picture}", tiles, _MERGE_BLOCK, params)


def filter_launch(params: FilterParams) -> Launch:
    """Average a frame's chroma with the last one's."""
    return launch_over("tapetum_filter", (params.width, params.height), _CELL_BLOCK, params)


def cell_luma_launch(params: CellLumaParams) -> Launch:
    """Mean luma of the cells of a frame."""
    return launch_over("tapetum_cell_luma", (params.cells_width, params.cells_height), _CELL_BLOCK, params)


def grey_launch(params: GreyParams) -> Launch:
    """Make all of a frame's chroma grey where one value is not finite, and tell so."""
    return Launch("tapetum_grey", (1, 1, 1), _GREY_BLOCK, bytes(params))


def launch_over(kernel: str, threads: tuple[int, int], block: Extent, params: Structure) -> Launch:
    """Launch at least `threads` (across, down), in whole blocks."""
    return Launch(kernel, (_ceil(threads[0], block[0]), _ceil(threads[1], block[1]), 1), block, bytes(params))


def _ceil(total: int, size: int) -> int:
    return -(-total // size)
