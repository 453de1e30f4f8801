"""Constant folding: what depends on no frame is computed once, when the graph is written.

PyTorch's exporter leaves arithmetic on shapes in the graph (ConstantOfShape, Equal and Where before an Expand).
TensorRT would have to carry it as shape tensors, and ONNX's shape inference does not see through it.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from edge.errors import InputError
from trt_build.checks.table import TABLE

QUANTIZERS = frozenset({"QuantizeLinear", "DequantizeLinear"})  # INT8 weights stay INT8 in the file
LARGEST = 1 << 26  # numbers of one constant: no weights have more, and a few nodes can ask for terabytes


class FoldingError(InputError):
    """Constants of a graph cannot be computed."""


def fold(model: onnx.ModelProto) -> None:
    """Make an initializer of every value that depends on constants alone, and drop the nodes that gave it.

    Nodes that give an output of the graph or quantize stay as they are, and so do operators that the table lacks.

    Raises:
        FoldingError: a node does not fit its constants, or would make too large a value of them.
    """
    graph = model.graph
    constant, rest = _parted(graph)
    if constant:
        values = _evaluate(model, constant, wanted={name for node in rest for name in node.input})
        graph.initializer.extend(values)
        kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in rest]
        del graph.node[:]
        graph.node.extend(kept)
    _drop_unused(graph)


def _parted(graph: onnx.GraphProto) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
    """The nodes that depend on constants alone, and the others."""
    known = {"", *(tensor.name for tensor in graph.initializer)}  # "" stands for an optional input that is absent
    outputs = {value.name for value in graph.output}
    constant, rest = [], []
    for node in graph.node:
        depends_on_nothing = node.op_type == "Constant" or (len(node.input) > 0 and known.issuperset(node.input))
        if depends_on_nothing and _is_foldable(node) and outputs.isdisjoint(node.output):
            constant.append(node)
            known.update(node.output)
        else:
            rest.append(node)
    return constant, rest


def _is_foldable(node: onnx.NodeProto) -> bool:
    return node.domain in ("", "ai.onnx") and node.op_type in TABLE and node.op_type not in QUANTIZERS


def _evaluate(model: onnx.ModelProto, nodes: list[onnx.NodeProto], wanted: set[str]) -> list[onnx.TensorProto]:
    """The values of those of the nodes' outputs that are wanted, by ONNX's own reference implementation."""
    made = [name for node in nodes for name in node.output if name in wanted]
    used = {name for node in nodes for name in node.input}
    graph = onnx.helper.make_graph(
        nodes,
        "constants",
        inputs=[],
        outputs=[onnx.ValueInfoProto(name=name) for name in made],
        initializer=[tensor for tensor in model.graph.initializer if tensor.name in used],
    )
    part = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    _check_sizes(part)
    try:
        with np.errstate(all="ignore"):  # a constant may be infinite
            values = ReferenceEvaluator(part).run(None, {})
    except Exception as error:  # each operator raises what numpy raises
        raise FoldingError(f"its constants cannot be computed ({type(error).__name__})") from error
    return [numpy_helper.from_array(value, name) for name, value in zip(made, values, strict=True)]


def _check_sizes(part: onnx.ModelProto) -> None:
    for value in onnx.shape_inference.infer_shapes(part, data_prop=True).graph.value_info:
        numbers = math.prod(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)
        if numbers > LARGEST:
            raise FoldingError(f"the constant {value.name} would have {numbers} numbers, {LARGEST} at most")


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for index in reversed(range(len(graph.initializer))):  # in place: weights may be large
        if graph.initializer[index].name not in used:
            del graph.initializer[index]
