"""An ONNX graph of which every tensor's type and shape is known, and what in it moves no data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from edge.errors import InputError
from trt_build.checks.operators import missing
from trt_build.folding import fold
from trt_build.graphs import read_graph

# Left to whoever writes or reads the tensor: TensorRT makes types of Q/DQ and Cast, and addresses of the others.
VIEWS = {"QuantizeLinear", "DequantizeLinear", "Cast", "Identity"}
VIEWS |= {"Expand", "Flatten", "Reshape", "Slice", "Split", "Squeeze", "Unsqueeze"}


@dataclass(frozen=True)
class Tensor:
    """A tensor, with numpy's name of its type."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.elements * np.dtype(self.dtype).itemsize

    def __str__(self) -> str:
        return f"{self.dtype}[{'x'.join(map(str, self.shape))}]"


class Graph:
    """The nodes that compute something from a frame, in their order.

    Attributes:
        nodes: all but those that follow from constants alone; builders compute them once.
        tensors: every tensor's type and shape, by name.
        constants: names of the tensors that are the same for every frame.
        outputs: names of the network's outputs.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        """Fold the model's constants, in place, and infer all shapes.

        Raises:
            InputError: a shape is not fixed or cannot be inferred, or a node has a graph within.
        """
        fold(model)
        graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
        self.tensors = {tensor.name: tensor for tensor in _tensors(graph)}
        self.constants = {initializer.name for initializer in graph.initializer}
        self.outputs = tuple(value.name for value in graph.output)
        self._producers = {name: node for node in graph.node for name in node.output}
        for node in graph.node:
            self._check(node)
        self.nodes = [node for node in graph.node if not self._is_constant(node)]

    def producer(self, name: str) -> onnx.NodeProto | None:
        """The node that makes a tensor; None for the network's inputs and for weights."""
        return self._producers.get(name)

    def is_view(self, node: onnx.NodeProto) -> bool:
        """Whether a node moves no data of its own. To take from fixed places is to read there."""
        return node.op_type in VIEWS or (node.op_type == "Gather" and node.input[1] in self.constants)

    def stored(self, name: str) -> Tensor:
        """What a reader of a tensor fetches: the tensor behind the views, in the smallest type and part of them all.

        What lies behind Q/DQ is int8 in memory, behind a Cast to float16 it is that: whoever writes it converts. But
        the network's inputs lie there as they came.
        """
        tensor = self.tensors[name]
        while (node := self.producer(tensor.name)) and self.is_view(node):
            source = self.tensors[node.input[0]]
            dtype = min(tensor.dtype, source.dtype, key=lambda each: np.dtype(each).itemsize)
            shape = min(tensor.shape, source.shape, key=math.prod)
            tensor = Tensor(source.name, dtype, shape)
        if node is None and tensor.name not in self.constants:
            return Tensor(tensor.name, self.tensors[tensor.name].dtype, tensor.shape)
        return tensor

    def _is_constant(self, node: onnx.NodeProto) -> bool:
        """Whether a node follows from constants alone; what it makes is one, too."""
        constant = all(name in self.constants for name in node.input if name)
        if constant:
            self.constants.update(node.output)
        return constant

    def _check(self, node: onnx.NodeProto) -> None:
        if any(attribute.type in (attribute.GRAPH, attribute.GRAPHS) for attribute in node.attribute):
            raise InputError(f"{node.op_type} {node.name}: has a graph within: export again without branches")
        for name in (*node.input, *node.output):
            if name and name not in self.tensors:
                raise InputError(f"{node.op_type} {node.name}: the shape of {name} is not fixed: export again")


def load_graph(path: Path) -> Graph:
    """Read an ONNX file.

    Raises:
        InputError: it is missing, is not ONNX or not self-contained, or see `Graph`.
    """
    model = read_graph(path)
    for fault in missing(model):
        raise InputError(f"{path}: {fault}")
    try:
        return Graph(model)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except Exception as error:  # onnx's shape inference raises a RuntimeError and others
        raise InputError(f"{path}: not an ONNX file, or a damaged one ({type(error).__name__})") from error


def _tensors(graph: onnx.GraphProto) -> Iterator[Tensor]:
    """All tensors of fixed shape."""
    for i in graph.initializer:
        yield Tensor(i.name, _numpy_name(i.data_type), tuple(i.dims))
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(d.HasField("dim_value") for d in tensor.shape.dim):
            yield Tensor(value.name, _numpy_name(tensor.elem_type), tuple(d.dim_value for d in tensor.shape.dim))


def _numpy_name(element_type: int) -> str:
    return str(helper.tensor_dtype_to_np_dtype(element_type))
