"""Whether TensorRT can take a graph, told before anybody waits for a builder: what is wrong, where, and the cure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto, shape_inference

from edge.bundles.manifest import first_of
from edge.errors import InputError
from trt_build.checks.limits import ANY, INT8, Node, Tensor
from trt_build.checks.table import LARGEST_RANK, OPSETS, REFUSED, TABLE, UNKNOWN
from trt_build.folding import FoldingError, fold
from trt_build.graphs import read_graph

PERMITTED = ANY | INT8
LIGHT = 1 << 16  # numbers: no shape, axes or scales have more


class UnsupportedError(InputError):
    """TensorRT cannot take this graph."""


@dataclass(frozen=True)
class Violation:
    """One thing that TensorRT does not take: where, why, and what to do."""

    node: str
    operator: str
    reason: str
    cure: str

    def __str__(self) -> str:
        where = f"{self.node} ({self.operator})" if self.operator else self.node
        line = f"{where}: {self.reason}: {self.cure}"
        return "".join(letter if letter.isprintable() else "?" for letter in line)  # names may be anything


def check_graph(path: Path) -> None:
    """Check that TensorRT can take a graph.

    Raises:
        UnsupportedError: it cannot; one line with the first violations.
        InputError: the file cannot be read or is not ONNX.
    """
    check_model(read_graph(path), str(path))


def check_model(model: onnx.ModelProto, name: str) -> None:
    """`check_graph` of a graph in memory, which the error calls `name`."""
    found = violations(model)
    if found:
        raise UnsupportedError(f"{name}: {first_of(found)}")


def violations(model: onnx.ModelProto) -> list[Violation]:
    """All that TensorRT would not take, in the graph's order. What only follows from another is left out."""
    found = [*_of_the_file(model), *_of_the_interface(model.graph)]
    if found:  # nothing is known of the shapes of such a graph
        return found
    light = _without_weights(model)
    try:
        onnx.checker.check_model(light)
    except onnx.checker.ValidationError as error:
        reason = next(iter(str(error).splitlines()), "damaged")  # some say nothing
        return [Violation("the graph", "", f"not valid ONNX ({reason})", "run tapetum-build export")]
    values = _values(light)
    nodes = list(model.graph.node)
    try:
        fold(light)
    except FoldingError as error:
        return [Violation("the graph", "", str(error), "run tapetum-build export")]
    values |= _values(light)  # what folding took away has its type from before, what it left its shape
    constants = {tensor.name: tensor for tensor in light.graph.initializer}
    opset = _opset(model)
    return [violation for node in nodes for violation in _of_node(Node(node, opset, values, constants))]


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which large constants are inputs: types and shapes are all that is looked at, and take a moment."""
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    graph = light.graph
    graph.name = model.graph.name
    for copied, original in (
        (graph.node, model.graph.node),
        (graph.input, model.graph.input),
        (graph.output, model.graph.output),
        (graph.value_info, model.graph.value_info),
    ):
        copied.extend(original)
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= LIGHT:
            graph.initializer.append(tensor)
        else:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return light


def missing(model: onnx.ModelProto) -> Iterator[Violation]:
    """What a file lacks that should be self-contained: its graph, or the first of its values."""
    if not model.graph.node:
        yield Violation("the file", "", "it holds no graph", "run tapetum-build export")
    elsewhere = [tensor for tensor in model.graph.initializer if tensor.data_location == TensorProto.EXTERNAL]
    for tensor in elsewhere[:1]:
        location = {entry.key: entry.value for entry in tensor.external_data}.get("location", "?")
        reason = f"its values lie in another file, {location}, which the bundle's sha256 does not cover"
        yield Violation(tensor.name, "", reason, "save the graph as one file")


def _of_the_file(model: onnx.ModelProto) -> Iterator[Violation]:
    yield from missing(model)
    if not model.graph.node:
        return
    if _opset(model) not in OPSETS:
        reason = f"opset {_opset(model)}, where all TensorRT from 10.3 on read {OPSETS[0]} to {OPSETS[-1]} alike"
        yield Violation("the graph", "", reason, "run tapetum-build export")
    for tensor in model.graph.initializer:
        if tensor.data_type not in PERMITTED:
            yield Violation(tensor.name, "", *_not_permitted(tensor.data_type))


def _of_the_interface(graph: onnx.GraphProto) -> Iterator[Violation]:
    constants = {tensor.name for tensor in graph.initializer}
    named = [(f"input {value.name}", value) for value in graph.input if value.name not in constants]
    for name, value in (*named, *((f"output {value.name}", value) for value in graph.output)):
        shape, dtype = _dimensions(value), value.type.tensor_type.elem_type
        if name.startswith("input") and (shape is None or not all(shape)):
            yield Violation(name, "", f"its shape is not fixed ({_written(value)})", "export with a fixed size")
        if dtype not in (TensorProto.FLOAT, TensorProto.INT64):
            reason = f"it is {_name(dtype)}, and a bundle's inputs and outputs are float32 or int64"
            yield Violation(name, "", reason, "cast inside the graph")


def _of_node(node: Node) -> Iterator[Violation]:
    proto = node.proto
    name = proto.name or next(filter(None, proto.output), "a node")
    if proto.domain not in ("", "ai.onnx"):
        reason = f"an operator of {proto.domain}, not of ONNX"
        yield Violation(name, proto.op_type, reason, "write the graph with ONNX's operators alone")
    elif proto.op_type not in TABLE:
        yield Violation(name, proto.op_type, *REFUSED.get(proto.op_type, UNKNOWN))
    else:
        broken = [limit for limit in TABLE[proto.op_type].limits if not limit.holds(node)]
        faults = [(limit.reason, limit.cure) for limit in broken] or list(_of_values(node))[:1]
        for fault in faults:
            yield Violation(name, proto.op_type, *fault)


def _of_values(node: Node) -> Iterator[tuple[str, str]]:
    """Reasons and cures: types and shapes that TensorRT does not have."""
    operator, outputs = TABLE[node.proto.op_type], [node.values.get(name) for name in node.proto.output if name]
    first = outputs[0].dtype if outputs and outputs[0] else None
    dtype = first if operator.typed is None else node.dtype(operator.typed)
    if dtype in PERMITTED - operator.types:  # another type is told of where it is made
        yield f"it does not take {_name(dtype)}", "cast before it"
    for value in outputs:
        if value is None or value.shape is None:
            if _all_fixed(node):
                yield "the shape of its output is not fixed", "let no size depend on the frame"
        elif value.dtype not in PERMITTED:
            yield _not_permitted(value.dtype)
        elif len(value.shape) > LARGEST_RANK:
            yield f"its output has {len(value.shape)} axes, TensorRT's {LARGEST_RANK} at most", "use fewer axes"


def _all_fixed(node: Node) -> bool:
    """Whether the shapes of all its inputs are known."""
    return all(node.shape(i) is not None for i, name in enumerate(node.proto.input) if name)


def _values(model: onnx.ModelProto) -> dict[str, Tensor]:
    """What ONNX's inference knows of a graph's values."""
    graph = shape_inference.infer_shapes(model, data_prop=True).graph
    found = {tensor.name: Tensor(tensor.data_type, tuple(tensor.dims)) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.HasField("tensor_type"):
            found[value.name] = Tensor(value.type.tensor_type.elem_type, _dimensions(value))
    return found


def _dimensions(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape") or not all(d.HasField("dim_value") for d in tensor.shape.dim):
        return None
    return tuple(d.dim_value for d in tensor.shape.dim)


def _written(value: onnx.ValueInfoProto) -> str:
    dimensions = value.type.tensor_type.shape.dim
    return (
        "x".join(d.dim_param or (str(d.dim_value) if d.HasField("dim_value") else "?") for d in dimensions) or "none"
    )


def _opset(model: onnx.ModelProto) -> int:
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)


def _not_permitted(dtype: int) -> tuple[str, str]:
    """Reason and cure. TensorRT computes float64 in float32, after clamping, and has uint8 at its edges alone."""
    cure = "quantize to int8" if dtype == TensorProto.UINT8 else "use float32 or int64"
    return f"TensorRT does not compute in {_name(dtype)}", cure


def _name(dtype: int) -> str:
    known = dtype in TensorProto.DataType.values() and dtype != TensorProto.UNDEFINED
    return str(onnx.helper.tensor_dtype_to_np_dtype(dtype).name) if known else "an unknown type"
