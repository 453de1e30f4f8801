"""The roofline: no layer can be faster than its arithmetic, nor than what it moves. A bound, never a measurement.

Williams, Waterman and Patterson, "Roofline: an insightful visual performance model", 2009: a layer's time is the
larger of the time for its operations and the time for its bytes; a network's is the sum over its layers.

What it leaves out makes a board slower than this, often by a factor of two or more: launches (a few microseconds a
layer), convolutions that tensor cores do badly (depthwise ones), clocks below the highest, the CPU's share of the
memory. One thing can make it faster: activations small enough to stay in the GPU's cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trt_build.inspection.boards import Board
from trt_build.inspection.layers import Layer


@dataclass(frozen=True)
class Bound:
    """The least time of one frame.

    Attributes:
        by_traffic_ms: the part of it in layers that wait for memory rather than for arithmetic.
    """

    total_ms: float
    by_traffic_ms: float


def compute_ms(layer: Layer, board: Board) -> float:
    """The time for a layer's multiply-adds at the board's best rate for their type."""
    return 2e3 * layer.multiply_adds / board.operations_per_s(layer.arithmetic)


def traffic_ms(layer: Layer, board: Board) -> float:
    """The time for a layer's weights and activations through the memory."""
    return 1e3 * layer.moved_bytes / (board.bandwidth_gb_s * 1e9)


def layer_ms(layer: Layer, board: Board) -> float:
    """The least time of a layer."""
    return max(compute_ms(layer, board), traffic_ms(layer, board))


def bound(layers: Sequence[Layer], board: Board) -> Bound:
    """The least time of a network."""
    waiting = [layer for layer in layers if traffic_ms(layer, board) >= compute_ms(layer, board)]
    return Bound(sum(layer_ms(layer, board) for layer in layers), sum(traffic_ms(layer, board) for layer in waiting))
