"""What a merge has to move through memory, and how long that takes at least."""

from __future__ import annotations

CELLS = 128  # the colorizer's chroma, a side


def merge_bytes(width: int, height: int, *, cells: int = CELLS, bytes_a_value: int = 4) -> int:
    """What a merge has to move: luma and chroma cells read once, NV12 written once. Even sizes."""
    return width * height + 2 * cells * cells * bytes_a_value + width * height * 3 // 2


def merge_floor_ms(width: int, height: int, bandwidth_gb_s: float) -> float:
    """The least time of a merge."""
    return merge_bytes(width, height) / (bandwidth_gb_s * 1e9) * 1e3
