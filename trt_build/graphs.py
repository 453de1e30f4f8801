"""The folder between the steps: one ONNX file per network and precision, one JSON card per network.

::

    <folder>/recognizer.fp32.onnx  recognizer.int8.onnx  recognizer.json   (context and colorizer likewise)
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import onnx
import onnxruntime

from edge.atomic import write_atomic
from edge.errors import InputError
from edge.manifest import ModelName, Precision, Preprocessing, TensorSpec
from edge.media import IMAGE_SUFFIXES
from edge.preprocess import letterbox, squash
from edge.types import Float32Array, UInt8Array

_DTYPES: dict[int, Literal["float32", "int64"]] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.INT64: "int64",
}


@dataclass
class GraphCard:
    """What is known of an exported network besides its graph."""

    name: ModelName
    labels: list[str] = field(default_factory=list)
    provenance: dict[str, str] = field(default_factory=dict)


def graph_path(folder: Path, name: ModelName, precision: Precision) -> Path:
    """Where a network's graph lies."""
    return folder / f"{name}.{precision}.onnx"


def card_path(folder: Path, name: ModelName) -> Path:
    """Where a network's card lies."""
    return folder / f"{name}.json"


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
        return GraphCard(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{path}: not the card of an exported network ({error}): run tapetum-build export"
        ) from error


def read_interface(path: Path) -> tuple[dict[str, TensorSpec], dict[str, TensorSpec]]:
    """Inputs and outputs of a graph.

    Raises:
        InputError: the file is missing, is not ONNX, or has dynamic shapes.
    """
    try:
        graph = onnx.load(path).graph
    except OSError as error:
        raise InputError(f"{path}: cannot read the graph: {error.strerror}: run tapetum-build export") from error
    except Exception as error:  # onnx raises protobuf's own errors
        raise InputError(f"{path}: not an ONNX file ({type(error).__name__}): run tapetum-build export") from error
    return _specs(path, graph.input), _specs(path, graph.output)


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


def network_input(name: ModelName, luma: UInt8Array, size: tuple[int, int]) -> Float32Array:
    """float32[1, 1, *size], by the runtime's own preprocessing."""
    how = preprocessing_of(name)
    if how.pad is not None:
        return letterbox(luma, size, how.pad)[0]
    return squash(luma, size)


def session(path: Path, *, threads: int = 0) -> onnxruntime.InferenceSession:
    """ONNX Runtime on the CPU: the reference that export, calibration and evaluation judge by.

    Raises:
        InputError: not a graph that it can run.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class of their own
        raise InputError(f"{path}: ONNX Runtime cannot load it: {error}") from error


def list_images(where: Path) -> list[Path]:
    """Image files of a folder, sorted, or those that a text file lists, one path a line.

    Raises:
        InputError: no such folder or list, or no image in it.
    """
    if where.is_dir():
        files = sorted(p for p in where.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    elif where.is_file() and where.suffix == ".txt":
        files = [Path(line) for line in where.read_text(encoding="utf-8").splitlines() if line]
    else:
        raise InputError(f"{where}: neither a folder of images nor a .txt list of them")
    if not files:
        raise InputError(f"{where}: no image in it ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return files


def spread(files: list[Path], count: int) -> list[Path]:
    """`count` of the files, evenly over the list."""
    if len(files) <= count:
        return files
    return [files[i * len(files) // count] for i in range(count)]
