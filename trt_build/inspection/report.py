"""What `inspect` tells of a network: for people a table as wide as their terminal, for programs a document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import Any

from trt_build.inspection.boards import BOARDS, Board
from trt_build.inspection.layers import Layer
from trt_build.inspection.roofline import bound, layer_ms

CAVEAT = "a bound from the board's limits, not a measurement"
SMALLEST = BOARDS[0]  # what the column of times is for
_NAME_AT_LEAST = 20
_GAP = "  "


@dataclass(frozen=True)
class Inspected:
    """A network's layers; `title` says which network, `nodes` how many nodes they were."""

    title: str
    nodes: int
    layers: Sequence[Layer]

    def total(self, what: str) -> int:
        """The sum of a figure of `Layer` over all layers."""
        return sum(getattr(layer, what) for layer in self.layers)

    def costliest(self, count: int) -> list[Layer]:
        """The layers of the largest bounds, in the network's order."""
        by_cost = sorted(self.layers, key=lambda layer: -layer_ms(layer, SMALLEST))
        kept = {id(layer) for layer in by_cost[:count]}
        return [layer for layer in self.layers if id(layer) in kept]


@dataclass(frozen=True)
class _Column:
    title: str
    text: Callable[[Layer], str]
    right: bool = True
    at_most: int = 30


# From the one that a narrow terminal keeps longest. The layer's name comes before them and takes what is left.
_BY_IMPORTANCE = (
    _Column("us", lambda layer: f"{1e3 * layer_ms(layer, SMALLEST):.1f}"),
    _Column("mul-adds", lambda layer: short(layer.multiply_adds)),
    _Column("op", lambda layer: "+".join(layer.ops), right=False, at_most=18),
    _Column("in", lambda layer: short(layer.read_bytes, "B")),
    _Column("out", lambda layer: short(layer.written_bytes, "B")),
    _Column("weights", lambda layer: short(layer.weight_bytes, "B")),
    _Column("makes", lambda layer: " ".join(map(str, layer.outputs)), right=False),
    _Column("math", lambda layer: layer.arithmetic if layer.multiply_adds else "", right=False),
    _Column("reads", lambda layer: " ".join(map(str, layer.inputs)), right=False),
    _Column("parameters", lambda layer: short(layer.parameters)),
)
_FROM_THE_LEFT = ("op", "math", "reads", "makes", "parameters", "weights", "in", "out", "mul-adds", "us")


def short(number: float, unit: str = "") -> str:
    """Three digits and a decimal prefix: 12.3M."""
    for prefix in ("", "k", "M", "G"):
        if number < 999.5:
            return f"{number:.3g}{prefix}{unit}"
        number /= 1000
    return f"{number:.3g}T{unit}"


def scope(name: str) -> str:
    """A node's name without the steps that the next one repeats: /stages.1/stages.1.0/Conv is /stages.1.0/Conv."""
    steps = name.split("/")
    return "/".join(step for step, after in zip_longest(steps, steps[1:]) if not (after or "").startswith(f"{step}."))


def summary(network: Inspected) -> list[str]:
    """The totals, and the least time on each board."""
    parameters, multiply_adds = short(network.total("parameters")), short(network.total("multiply_adds"))
    weights, read, written = (short(network.total(f"{name}_bytes"), "B") for name in ("weight", "read", "written"))
    return [
        network.title,
        f"  {network.nodes} nodes, {len(network.layers)} layers when fused",
        f"  {parameters} parameters, {multiply_adds} multiply-adds a frame",
        f"  moves {weights} weights, {read} in, {written} out",
        f"  least time of a frame ({CAVEAT}):",
        *(f"    {line}" for line in map(partial(_least, network.layers), BOARDS)),
    ]


def table(layers: Sequence[Layer], width: int) -> list[str]:
    """A row for each layer, in lines of at most `width` characters where that is possible.

    Where it is narrow, columns go; what they leave is the names', of which the end says more than the beginning.
    """
    sizes = _sizes(layers, width - _NAME_AT_LEAST)
    columns = sorted(sizes, key=lambda column: _FROM_THE_LEFT.index(column.title))
    left = width - sum(len(_GAP) + size for size in sizes.values())
    name_size = min(left, max(len(scope(layer.name)) for layer in layers))
    lines = [["layer".ljust(name_size), *(_cell(column, column.title, sizes[column]) for column in columns)]]
    for layer in layers:
        cells = [_cell(column, column.text(layer), sizes[column]) for column in columns]
        lines.append([_end(scope(layer.name), name_size).ljust(name_size), *cells])
    return [_GAP.join(cells).rstrip() for cells in lines]


def document(network: Inspected) -> dict[str, Any]:
    """Everything, for a JSON file. Bytes and multiply-adds are of one frame, times in milliseconds."""
    totals = ("parameters", "multiply_adds", "weight_bytes", "read_bytes", "written_bytes")
    return {
        "network": network.title,
        "nodes": network.nodes,
        "totals": {name: network.total(name) for name in totals},
        "bounds": {
            board.name: {"total_ms": least.total_ms, "by_traffic_ms": least.by_traffic_ms, "is": CAVEAT}
            for board, least in ((board, bound(network.layers, board)) for board in BOARDS)
        },
        "layers": [_layer_document(layer) for layer in network.layers],
    }


def _layer_document(layer: Layer) -> dict[str, Any]:
    figures = ("parameters", "multiply_adds", "weight_bytes", "read_bytes", "written_bytes")
    return {
        "name": layer.name,
        "ops": list(layer.ops),
        "arithmetic": layer.arithmetic,
        "inputs": [str(tensor) for tensor in layer.inputs],
        "outputs": [str(tensor) for tensor in layer.outputs],
        **{name: getattr(layer, name) for name in figures},
        "bounds_ms": {board.name: layer_ms(layer, board) for board in BOARDS},
    }


def _sizes(layers: Sequence[Layer], width: int) -> dict[_Column, int]:
    """The columns that have a place in `width` characters, the most important first, and the characters of each."""
    sizes: dict[_Column, int] = {}
    for column in _BY_IMPORTANCE:
        size = min(column.at_most, max(len(column.title), *(len(column.text(layer)) for layer in layers)))
        width -= len(_GAP) + size
        if width < 0:
            break
        sizes[column] = size
    return sizes


def _least(layers: Sequence[Layer], board: Board) -> str:
    least = bound(layers, board)
    waiting = 100 * least.by_traffic_ms / max(least.total_ms, 1e-9)
    return f"{board.name:<16} {least.total_ms:7.3f} ms, {waiting:.0f} % of it waiting for memory"


def _cell(column: _Column, text: str, size: int) -> str:
    fitted = text if len(text) <= size else text[: size - 1] + "…"
    return fitted.rjust(size) if column.right else fitted.ljust(size)


def _end(name: str, size: int) -> str:
    return name if len(name) <= size else "…" + name[len(name) - size + 1 :]
