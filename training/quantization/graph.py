"""Where quantizers stand in a graph, by TensorRT's rules for explicit quantization.

Only what the convolutions and matrix products of a network read becomes INT8: one Q/DQ pair for each tensor, shared
by all that read it, and weights per output channel. So nothing stands between a layer and its activation, biases and
outputs stay in float, and what joins maps (Concat) is followed by one scale for all of them. A residual Add reads its
skip input from the pair that is there already, so that the skip travels as INT8; its other input stays in float.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

Constants = Mapping[str, onnx.TensorProto]
LARGEST = 127  # -128 is not used: ranges are symmetric
# Scales are rounded to what FP16 holds, so that a graph whose float part is FP16 computes with the same ones. Dead
# channels would have 0.
SMALLEST_SCALE = 2.0**-20


@dataclass(frozen=True)
class Layer:
    """A convolution or matrix product with constant weights, whose output channels lie along `axis`."""

    name: str
    activation: str
    weight: str
    axis: int


def layers(model: onnx.ModelProto) -> list[Layer]:
    """The layers of a graph that can become INT8, in its order."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    return [layer for node in model.graph.node if (layer := _layer(node, constants))]


def _layer(node: onnx.NodeProto, constants: Constants) -> Layer | None:
    if node.op_type not in ("Conv", "Gemm", "MatMul") or node.input[1] not in constants:
        return None
    if node.input[0] in constants or len(constants[node.input[1]].dims) < 2:
        return None
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    axis = 0 if node.op_type == "Conv" or transposed else len(constants[node.input[1]].dims) - 1
    return Layer(node.name, node.input[0], node.input[1], axis)


def insert(model: onnx.ModelProto, chosen: Collection[Layer], limits: Mapping[str, float]) -> onnx.ModelProto:
    """A copy of the graph in which the chosen layers read INT8.

    Args:
        limits: for each layer's activation, the magnitude that 127 stands for.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    pairs = {layer.activation: _Pair(layer.activation, limits[layer.activation]) for layer in chosen}
    weights = {layer.weight: layer.axis for layer in chosen}
    names = {layer.name for layer in chosen}
    order = {output: i for i, node in enumerate(graph.node) for output in node.output}
    nodes = [node for value in graph.input if value.name in pairs for node in pairs[value.name].nodes()]
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for weight, axis in weights.items():
        nodes.append(_dequantized(graph, constants[weight], axis))
    for node in graph.node:
        if node.name in names:
            node.input[0], node.input[1] = pairs[node.input[0]].output, f"{node.input[1]}_dequantized"
        elif node.op_type == "Add":
            skip = min((i for i in node.input if i in pairs), key=lambda i: order.get(i, -1), default=None)
            if skip is not None:
                node.input[list(node.input).index(skip)] = pairs[skip].output
        nodes.append(node)
        nodes.extend(made for output in node.output if output in pairs for made in pairs[output].nodes())
    for pair in pairs.values():
        graph.initializer.extend(pair.constants())
    replace_nodes(graph, nodes)
    return result


@dataclass(frozen=True)
class _Pair:
    """QuantizeLinear and DequantizeLinear of one tensor."""

    tensor: str
    limit: float

    @property
    def output(self) -> str:
        return f"{self.tensor}_dequantized"

    def nodes(self) -> Iterator[onnx.NodeProto]:
        scale, zero, quantized = f"{self.tensor}_scale", f"{self.tensor}_zero", f"{self.tensor}_quantized"
        yield helper.make_node("QuantizeLinear", [self.tensor, scale, zero], [quantized], f"{self.tensor}_Q")
        yield helper.make_node("DequantizeLinear", [quantized, scale, zero], [self.output], f"{self.tensor}_DQ")

    def constants(self) -> Iterator[onnx.TensorProto]:
        scale = _scales(np.float32(self.limit or LARGEST))
        yield numpy_helper.from_array(scale, f"{self.tensor}_scale")
        yield numpy_helper.from_array(np.zeros((), np.int8), f"{self.tensor}_zero")


def _dequantized(graph: onnx.GraphProto, weight: onnx.TensorProto, axis: int) -> onnx.NodeProto:
    """Add a weight's INT8 copy, one scale for each output channel; the node that reads it."""
    values = numpy_helper.to_array(weight).astype(np.float32)
    others = tuple(i for i in range(values.ndim) if i != axis)
    scale = _scales(np.abs(values).max(axis=others))
    broad = np.expand_dims(scale, others)
    quantized = np.clip(np.rint(values / broad), -LARGEST, LARGEST).astype(np.int8)
    names = [f"{weight.name}_{part}" for part in ("quantized", "scale", "zero")]
    for name, array in zip(names, (quantized, scale, np.zeros(scale.shape, np.int8)), strict=True):
        graph.initializer.append(numpy_helper.from_array(array, name))
    return helper.make_node("DequantizeLinear", names, [f"{weight.name}_dequantized"], f"{weight.name}_DQ", axis=axis)


def _scales(limits: npt.NDArray[np.float32] | np.float32) -> npt.NDArray[np.float32]:
    scales = np.asarray(limits, np.float32) / LARGEST
    return np.maximum(scales, SMALLEST_SCALE).astype(np.float16).astype(np.float32)


def replace_nodes(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Give the graph these nodes, and drop the constants that none of them reads."""
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    read = {name for node in graph.node for name in node.input}
    constants = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(constants)
