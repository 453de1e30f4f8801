"""The least time that work can take: its operations at the GPU's peak, or its bytes at its bandwidth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trt_build.inspection.boards import BOARDS, Board
from trt_build.inspection.graph import load_graph
from trt_build.inspection.layers import layers_of
from trt_build.inspection.roofline import bound

# As data sheets give them: dense, at the highest clocks. `trt_build.inspection.boards` has the Jetsons.
DATA_CENTRE = (Board("NVIDIA H200", fp16_tflops=989.0, int8_tops=1979.0, bandwidth_gb_s=4800.0),)


def board_of(gpu: str) -> Board | None:
    """The data sheet of a GPU by its name; None where it is not known here."""
    return next((board for board in (*DATA_CENTRE, *BOARDS) if board.name == gpu), None)


def network_floor(graph: Path, board: Board) -> dict[str, Any]:
    """Multiply-adds, bytes and least time of one frame in a network."""
    layers = layers_of(load_graph(graph))
    least = bound(layers, board)
    return {
        "multiply_adds": sum(layer.multiply_adds for layer in layers),
        "moved_bytes": sum(layer.moved_bytes for layer in layers),
        "floor_ms": float(f"{least.total_ms:.4g}"),
        "of_it_memory_ms": float(f"{least.by_traffic_ms:.4g}"),
    }
