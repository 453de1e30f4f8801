"""The folder between the steps: one ONNX file per network and precision, one JSON card per network.

::

    <folder>/recognizer.fp32.onnx  recognizer.int8.onnx  recognizer.json   (context and colorizer likewise)
    <folder>/calibration.json       what INT8 was calibrated with
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import onnx
import onnxruntime
from pydantic import ConfigDict, TypeAdapter, ValidationError

from edge.atomic import write_atomic
from edge.bundles.manifest import ModelName, Precision, Preprocessing, TensorSpec, explain
from edge.errors import InputError
from edge.media import IMAGE_SUFFIXES, listed
from edge.types import Float32Array, UInt8Array
from edge.vision.preprocess import Size, letterbox, squash

Item = TypeVar("Item")

_DTYPES: dict[int, Literal["float32", "int64"]] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.INT64: "int64",
}


@dataclass
class GraphCard:
    """What is known of an exported network besides its graph."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    name: ModelName
    labels: list[str] = field(default_factory=list)
    provenance: dict[str, str] = field(default_factory=dict)
    float_layers: dict[str, list[str]] = field(default_factory=dict)


def graph_path(folder: Path, name: ModelName, precision: Precision) -> Path:
    """Where a network's graph lies."""
    return folder / f"{name}.{precision}.onnx"


def card_path(folder: Path, name: ModelName) -> Path:
    """Where a network's card lies."""
    return folder / f"{name}.json"


def calibration_path(folder: Path) -> Path:
    """Where a folder of graphs says what its INT8 was calibrated with: a manifest's `calibration`."""
    return folder / "calibration.json"


def write_card(folder: Path, card: GraphCard) -> None:
    """Write `<name>.json`."""
    write_atomic(card_path(folder, card.name), json.dumps(asdict(card), indent=1).encode() + b"\n")


def read_card(folder: Path, name: ModelName) -> GraphCard:
    """Read `<name>.json`.

    Raises:
        InputError: missing or not a card.
    """
    path = card_path(folder, name)
    try:
        card = TypeAdapter(GraphCard).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else explain(error)
        raise InputError(
            f"{path}: not the card of an exported network ({reason}): run tapetum-build export"
        ) from error
    if card.name != name:
        raise InputError(f"{path}: the card of the {card.name}: run tapetum-build export")
    return card


def read_interface(path: Path) -> tuple[dict[str, TensorSpec], dict[str, TensorSpec]]:
    """Inputs and outputs of a graph.

    Raises:
        InputError: the file is missing, is not ONNX, or has dynamic shapes.
    """
    graph = read_graph(path).graph
    return _specs(path, graph.input), _specs(path, graph.output)


def read_graph(path: Path) -> onnx.ModelProto:
    """A graph as it lies in its one file; what it says of other files is not followed.

    Raises:
        InputError: the file is missing or is not ONNX.
    """
    return parse_graph(read_content(path), path)


def read_content(path: Path) -> bytes:
    """What stands in a graph's file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot read the graph: {error.strerror}: run tapetum-build export") from error


def parse_graph(content: bytes, path: Path) -> onnx.ModelProto:
    """`read_graph` of what was read from `path`."""
    try:
        return onnx.load_model_from_string(content)
    except Exception as error:  # onnx raises protobuf's own errors
        raise InputError(f"{path}: not an ONNX file ({type(error).__name__}): run tapetum-build export") from error


def _specs(path: Path, values: list[onnx.ValueInfoProto]) -> dict[str, TensorSpec]:
    specs = {}
    for value in values:
        tensor = value.type.tensor_type
        shape = tuple(d.dim_value for d in tensor.shape.dim)
        if tensor.elem_type not in _DTYPES or not all(shape):
            raise InputError(f"{path}: {value.name}: only float32 and int64 of fixed shapes: export again")
        specs[value.name] = TensorSpec(dtype=_DTYPES[tensor.elem_type], shape=shape)
    return specs


def preprocessing_of(name: ModelName) -> Preprocessing:
    """How frames become the network's input: what training did."""
    if name == "recognizer":
        return Preprocessing(resize="letterbox", pad=128 / 255)
    return Preprocessing(resize="squash")


def network_input(how: Preprocessing, luma: UInt8Array, size: Size) -> Float32Array:
    """A frame uint8[H, W] as a network takes it, float32[1, 1, *size], by the runtime's own preprocessing."""
    if how.pad is not None:
        return letterbox(luma, size, how.pad, scale=how.scale)[0]
    return squash(luma, size, scale=how.scale)


def session(graph: Path | onnx.ModelProto, *, threads: int = 0) -> onnxruntime.InferenceSession:
    """ONNX Runtime on the CPU: the reference that export and calibration judge by.

    Quantized graphs are computed as they are written, in float between the Q/DQ pairs. ONNX Runtime's own 8-bit
    kernels saturate on CPUs without VNNI, and it makes infinities of biases in FP16.

    Raises:
        InputError: not a graph that it can run.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    source = graph if isinstance(graph, Path) else graph.SerializeToString()
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class of their own
        name = graph if isinstance(graph, Path) else graph.graph.name
        reason = str(error).splitlines()[0]
        raise InputError(f"{name}: ONNX Runtime cannot load it: {reason}") from error


def list_images(where: Path) -> list[Path]:
    """Image files of a folder, sorted, or those that a text list names: absolute, or relative to the list's folder.

    Raises:
        InputError: no such folder or list, or no image in it.
    """
    if where.is_dir():
        files = sorted(p for p in where.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    elif where.is_file() and where.suffix == ".txt":
        files = [where.parent / line for line in listed(where)]
    else:
        raise InputError(f"{where}: neither a folder of images nor a .txt list of them")
    if not files:
        raise InputError(f"{where}: no image in it ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return files


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """`count` of the items, evenly over them, or all where there are fewer."""
    if len(items) <= count:
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]
