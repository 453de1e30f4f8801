"""The layers of a graph, as a builder would fuse its nodes: what each computes, and what it moves.

A layer is one kernel at best. The assumptions, all of which favour the builder:

* What is elementwise joins the layer that makes its operand, if nothing else reads that operand: a convolution with
  its bias, activation and residual sum is one layer, and the sum's other operand one more read.
* Q/DQ, Cast and reshapes are no work: see `Graph.stored`. Nor is Concat: whoever makes a part writes it in place.
* Batch normalisation is elementwise (a builder folds it into the weights before it).
* Every layer reads its operands and weights from memory once, and writes what others read once.

Multiply-adds are those of convolutions and matrix products; the rest counts by what it moves.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import onnx

from trt_build.inspection.graph import Graph, Tensor

Arithmetic = Literal["fp32", "fp16", "int8"]

_ACTIVATIONS = {
    "Clip",
    "Elu",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "PRelu",
    "Relu",
    "Sigmoid",
    "Softplus",
    "Tanh",
}
_ARITHMETIC = {"Abs", "Add", "Ceil", "Div", "Erf", "Exp", "Floor", "Log", "Max", "Min", "Mod", "Mul", "Neg", "Pow"}
_ARITHMETIC |= {"BatchNormalization", "Reciprocal", "Round", "Sign", "Sqrt", "Sub", "Sum"}
_LOGIC = {"And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or", "Where"}
ELEMENTWISE = _ACTIVATIONS | _ARITHMETIC | _LOGIC


@dataclass(frozen=True)
class Layer:
    """Some nodes in one kernel.

    Attributes:
        name: of its first node.
        ops: of all its nodes.
        arithmetic: the type in which it multiplies.
        inputs, outputs: what it fetches and leaves in memory, as it lies there.
        weights: the constants it reads.
        multiply_adds: of one frame.
    """

    name: str
    ops: tuple[str, ...]
    arithmetic: Arithmetic
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]
    multiply_adds: int

    @property
    def parameters(self) -> int:
        return sum(tensor.elements for tensor in self.weights)

    @property
    def weight_bytes(self) -> int:
        return sum(tensor.bytes for tensor in self.weights)

    @property
    def read_bytes(self) -> int:
        """Of activations."""
        return sum(tensor.bytes for tensor in self.inputs)

    @property
    def written_bytes(self) -> int:
        return sum(tensor.bytes for tensor in self.outputs)

    @property
    def moved_bytes(self) -> int:
        """Weights and activations."""
        return self.weight_bytes + self.read_bytes + self.written_bytes


def layers_of(graph: Graph) -> list[Layer]:
    """Fuse a graph's nodes."""
    return list(_Fusion(graph).layers())


@dataclass
class _Group:
    """Nodes that become one layer; `last` is the tensor that the next one may take over."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)

    @property
    def last(self) -> str:
        return str(self.nodes[-1].output[0])

    @property
    def made(self) -> set[str]:
        return {name for node in self.nodes for name in node.output}


class _Fusion:
    """Nodes to groups, groups to layers."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._readers: dict[str, list[tuple[onnx.NodeProto | None, Tensor]]] = defaultdict(list)
        for node in graph.nodes:
            if not graph.is_view(node):
                for tensor in self._operands(node):
                    self._readers[tensor.name].append((node, tensor))
        for name in graph.outputs:  # they are written as they are declared
            tensor = graph.stored(name)
            self._readers[tensor.name].append((None, Tensor(tensor.name, graph.tensors[name].dtype, tensor.shape)))

    def layers(self) -> Iterator[Layer]:
        groups: list[_Group] = []
        for node in self._graph.nodes:
            if self._graph.is_view(node) or node.op_type == "Concat":
                continue
            group = self._group_of(node, groups)
            if group is None:
                groups.append(group := _Group())
            group.nodes.append(node)
        return (self._layer(group) for group in groups)

    def _group_of(self, node: onnx.NodeProto, groups: list[_Group]) -> _Group | None:
        """The newest group whose result this elementwise node takes as it is, and nobody else takes."""
        if node.op_type not in ELEMENTWISE:
            return None
        elements = self._graph.tensors[node.output[0]].elements
        free = {
            tensor.name
            for tensor in self._operands(node)
            if tensor.elements == elements and all(reader is node for reader, _ in self._readers[tensor.name])
        }
        return next((group for group in reversed(groups) if group.last in free), None)

    def _layer(self, group: _Group) -> Layer:
        first, nodes, made = group.nodes[0], group.nodes, group.made
        own = {id(node) for node in nodes}
        inputs = {tensor for node in nodes for tensor in self._operands(node) if tensor.name not in made}
        outputs = {tensor for name in made for reader, tensor in self._readers[name] if id(reader) not in own}
        return Layer(
            name=first.name or first.output[0],
            ops=tuple(node.op_type for node in nodes),
            arithmetic=self._arithmetic(first),
            inputs=_in_order(inputs),
            outputs=_in_order(outputs),
            weights=_in_order({tensor for node in nodes for tensor in self._weights(node)}),
            multiply_adds=sum(multiply_adds(node, self._graph) for node in nodes),
        )

    def _operands(self, node: onnx.NodeProto) -> list[Tensor]:
        """What a node reads of a frame's data, as it lies in memory."""
        names = [name for name in node.input if name and name not in self._graph.constants]
        return [self._graph.stored(name) for name in names]

    def _weights(self, node: onnx.NodeProto) -> list[Tensor]:
        """What a node reads of constants as they lie in memory: not its settings, which are single numbers, integers,
        or a Resize's scales.
        """
        if node.op_type == "Resize":
            return []
        constants = [self._graph.stored(name) for name in node.input if name in self._graph.constants]
        return [tensor for tensor in constants if tensor.shape and tensor.dtype in ("float32", "float16", "int8")]

    def _arithmetic(self, node: onnx.NodeProto) -> Arithmetic:
        """INT8 where both factors come from DequantizeLinear, else the type of the first."""
        makers = [self._graph.producer(name) for name in node.input[:2]]
        if len(makers) == 2 and all(maker and maker.op_type == "DequantizeLinear" for maker in makers):
            return "int8"
        return "fp16" if self._graph.tensors[node.input[0]].dtype == "float16" else "fp32"


def multiply_adds(node: onnx.NodeProto, graph: Graph) -> int:
    """Multiply-adds of one node for one frame: each output element's sum of products, bias not counted."""
    made = graph.tensors[node.output[0]].elements
    if node.op_type == "Conv":  # weights are [out, in / groups, *kernel]
        return made * math.prod(graph.tensors[node.input[1]].shape[1:])
    if node.op_type == "ConvTranspose":  # [in, out / groups, *kernel]
        return graph.tensors[node.input[0]].elements * math.prod(graph.tensors[node.input[1]].shape[1:])
    if node.op_type == "Gemm":
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return made * graph.tensors[node.input[0]].shape[0 if transposed else 1]
    if node.op_type == "MatMul":
        return made * graph.tensors[node.input[0]].shape[-1]
    return 0


def _in_order(tensors: set[Tensor]) -> tuple[Tensor, ...]:
    return tuple(sorted(tensors, key=lambda tensor: (tensor.name, tensor.dtype)))
