"""A whole bundle of real ONNX graphs that are small enough to write by hand: what they say follows from the picture.

context     every value is the mean of luma
colorizer   a = 80 * luma - 40 + context, b = -40 * luma + 20, luma averaged over 2x2
recognizer  slot 0: the bounding box of what is brighter than 0.8 (label 1 "dog", score 0.9, or 0 where nothing is);
            slot 1: always (10, 10, 50, 50), label 0 "cat", score 0.3; the other slots are unused
The int8 graphs are the same behind a QuantizeLinear and DequantizeLinear of the picture, in steps of 1 / 255.
"""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge.bundles.bundle import sha256_of, write_manifest
from edge.bundles.manifest import (
    Calibration,
    GraphFile,
    Manifest,
    ModelEntry,
    ModelName,
    Precision,
    Preprocessing,
    TensorSpec,
)

LABELS = ("cat", "dog")
CONTEXT, COLORIZER, RECOGNIZER = 224, 256, 320
SLOTS = 100


def make_tiny_bundle(folder: Path, *, chosen: Precision = "fp32") -> Path:
    """Write the graphs and the manifest into `folder`, which is made, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(
        folder,
        Manifest(
            name="tiny",
            version="1.0",
            created_at=datetime(2024, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
            labels=LABELS,
            models={
                "context": _entry(folder, "context", chosen),
                "colorizer": _entry(folder, "colorizer", chosen),
                "recognizer": _entry(folder, "recognizer", chosen),
            },
            calibration=Calibration(images=1, sha256="0" * 64),
            provenance={"training data": "none: written by hand"},
        ),
    )
    return folder


def _entry(folder: Path, name: ModelName, chosen: Precision) -> ModelEntry:
    models = {"fp32": _MODELS[name](quantised=False), "int8": _MODELS[name](quantised=True)}
    return ModelEntry(
        inputs={value.name: _spec(value) for value in models["fp32"].graph.input},
        outputs={value.name: _spec(value) for value in models["fp32"].graph.output},
        preprocessing=Preprocessing(resize="letterbox", pad=0.5)
        if name == "recognizer"
        else Preprocessing(resize="squash"),
        precisions={
            "fp32": _file(folder / f"{name}_fp32.onnx", models["fp32"]),
            "int8": _file(folder / f"{name}_int8.onnx", models["int8"]),
        },
        chosen=chosen,
    )


def _file(path: Path, model: onnx.ModelProto) -> GraphFile:
    onnx.save(model, path)
    return GraphFile(file=path.name, sha256=sha256_of(path), bytes=path.stat().st_size)


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    shape = tuple(size.dim_value for size in tensor.shape.dim)
    return TensorSpec(dtype="int64" if tensor.elem_type == TensorProto.INT64 else "float32", shape=shape)


def _context(quantised: bool) -> onnx.ModelProto:
    return _model(
        [
            *_picture("luma", quantised),
            helper.make_node("ReduceMean", ["picture"], ["mean"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Mul", ["mean", "ones"], ["context"]),
        ],
        {"luma": (1, 1, CONTEXT, CONTEXT)},
        {"context": (TensorProto.FLOAT, (1, 1000))},
        {"ones": np.ones((1, 1000), np.float32)},
    )


def _colorizer(quantised: bool) -> onnx.ModelProto:
    return _model(
        [
            *_picture("luma", quantised),
            helper.make_node("AveragePool", ["picture"], ["small"], kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("Conv", ["small", "weight", "bias"], ["plain"]),
            helper.make_node("ReduceMean", ["context"], ["mean"], axes=[1], keepdims=1),
            helper.make_node("Mul", ["mean", "only_a"], ["shift"]),
            helper.make_node("Add", ["plain", "shift"], ["ab"]),
        ],
        {"luma": (1, 1, COLORIZER, COLORIZER), "context": (1, 1000)},
        {"ab": (TensorProto.FLOAT, (1, 2, COLORIZER // 2, COLORIZER // 2))},
        {
            "weight": np.array([80, -40], np.float32).reshape(2, 1, 1, 1),
            "bias": np.array([-40, 20], np.float32),
            "only_a": np.array([1, 0], np.float32).reshape(1, 2, 1, 1),
        },
    )


def _recognizer(quantised: bool) -> onnx.ModelProto:
    def edges(axis: str, across: int) -> list[onnx.NodeProto]:
        """First bright index and last + 1 along one axis: nodes `<axis>_first` and `<axis>_end`, float[1, 1]."""
        line, first, last = f"{axis}_line", f"{axis}_first_index", f"{axis}_last_index"
        return [
            helper.make_node("ReduceMax", ["bright"], [line], axes=[1, across], keepdims=0),
            helper.make_node("ArgMax", [line], [first], axis=1),
            helper.make_node("Mul", [line, "ramp"], [f"{axis}_ramp"]),
            helper.make_node("ArgMax", [f"{axis}_ramp"], [last], axis=1),
            helper.make_node("Cast", [first], [f"{axis}_first"], to=TensorProto.FLOAT),
            helper.make_node("Cast", [last], [f"{axis}_last"], to=TensorProto.FLOAT),
            helper.make_node("Add", [f"{axis}_last", "one"], [f"{axis}_end"]),
        ]

    rest = SLOTS - 1
    constant_boxes = np.zeros((1, rest, 4), np.float32)
    constant_boxes[0, 0] = (10, 10, 50, 50)
    return _model(
        [
            *_picture("image", quantised),
            helper.make_node("Greater", ["picture", "threshold"], ["mask"]),
            helper.make_node("Cast", ["mask"], ["bright"], to=TensorProto.FLOAT),
            *edges("x", across=2),
            *edges("y", across=3),
            helper.make_node("Concat", ["x_first", "y_first", "x_end", "y_end"], ["box"], axis=1),
            helper.make_node("Reshape", ["box", "box_shape"], ["first_box"]),
            helper.make_node("Concat", ["first_box", "other_boxes"], ["unsorted"], axis=1),
            helper.make_node("ReduceMax", ["bright"], ["any"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Mul", ["any", "sure"], ["first_score"]),
            helper.make_node("Concat", ["first_score", "other_scores"], ["row"], axis=0),
            # Descending, as the contract asks: without a bright region slot 1 comes first.
            helper.make_node("TopK", ["row", "slots"], ["sorted", "order"], axis=0),
            helper.make_node("Unsqueeze", ["sorted", "axis_0"], ["scores"]),
            helper.make_node("Gather", ["all_labels", "order"], ["label_row"]),
            helper.make_node("Unsqueeze", ["label_row", "axis_0"], ["labels"]),
            helper.make_node("Gather", ["unsorted", "order"], ["boxes"], axis=1),
        ],
        {"image": (1, 1, RECOGNIZER, RECOGNIZER)},
        {
            "boxes": (TensorProto.FLOAT, (1, SLOTS, 4)),
            "scores": (TensorProto.FLOAT, (1, SLOTS)),
            "labels": (TensorProto.INT64, (1, SLOTS)),
        },
        {
            "threshold": np.float32(0.8),
            "one": np.float32(1),
            "ramp": np.arange(1, RECOGNIZER + 1, dtype=np.float32)[None],
            "box_shape": np.array([1, 1, 4], np.int64),
            "other_boxes": constant_boxes,
            "sure": np.float32(0.9),
            "other_scores": np.array([0.3] + [0.0] * (rest - 1), np.float32),
            "slots": np.array([SLOTS], np.int64),
            "axis_0": np.array([0], np.int64),
            "all_labels": np.array([1] + [0] * rest, np.int64),
        },
    )


def _picture(name: str, quantised: bool) -> list[onnx.NodeProto]:
    """The input as `picture`; quantised, through 8 bits and back."""
    if not quantised:
        return [helper.make_node("Identity", [name], ["picture"])]
    scale = helper.make_tensor("step_value", TensorProto.FLOAT, [], [1 / 255])
    zero = helper.make_tensor("zero_value", TensorProto.UINT8, [], [0])
    return [
        helper.make_node("Constant", [], ["step"], value=scale),
        helper.make_node("Constant", [], ["zero"], value=zero),
        helper.make_node("QuantizeLinear", [name, "step", "zero"], ["levels"]),
        helper.make_node("DequantizeLinear", ["levels", "step", "zero"], ["picture"]),
    ]


def _model(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, ...]],
    outputs: dict[str, tuple[int, tuple[int, ...]]],
    constants: dict[str, Any],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, dtype, shape) for name, (dtype, shape) in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


_MODELS = {"context": _context, "colorizer": _colorizer, "recognizer": _recognizer}
