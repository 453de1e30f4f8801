"""TensorRT's rules for graphs with Q/DQ nodes. ONNX Runtime runs what breaks them; TensorRT refuses it or is slow.

The rules are those of NVIDIA's guide, "Working with Quantized Types": see docs/build.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from edge.bundles.manifest import first_of
from edge.errors import TapetumError

LAYERS = {"Conv": 0, "ConvTranspose": 1}  # the axis of their weights' output channels; products: see `_weight_axis`
PRODUCTS = {"Gemm", "MatMul"}
ACTIVATIONS = {"BatchNormalization", "Clip", "LeakyRelu", "PRelu", "Relu"}


class QuantizationError(TapetumError):
    """A graph breaks TensorRT's rules for Q/DQ nodes."""


def check_model(model: onnx.ModelProto, name: str) -> None:
    """Check a graph that errors call `name`.

    Raises:
        QuantizationError: it breaks a rule; one line with the first violations.
    """
    found = violations(model)
    if found:
        raise QuantizationError(f"{name}: {first_of(found)}: run tapetum-build quantize again")


def violations(model: onnx.ModelProto) -> list[str]:
    """A line for each violation, node first, in the graph's order; empty also for a graph without Q/DQ nodes."""
    graph = _Graph(model.graph)
    return [f"{node.name or node.output[0]}: {fault}" for node in model.graph.node for fault in graph.faults(node)]


class _Graph:
    """A graph's connections: who makes a tensor, who reads it, what is constant."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.constants[node.output[0]] = node.attribute[0].t
        self.makers = {output: node for node in graph.node for output in node.output}
        self.readers: Mapping[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self.readers[name].append(node)
        self.outputs = {value.name for value in graph.output}

    def faults(self, node: onnx.NodeProto) -> Iterator[str]:
        """What is wrong at a node."""
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            yield from self._of_quantizer(node)
            yield from self._of_quantize(node) if node.op_type == "QuantizeLinear" else self._of_dequantize(node)
        elif node.op_type in LAYERS or node.op_type in PRODUCTS:
            yield from self._of_layer(node)
        elif node.op_type == "Concat":
            yield from self._of_concat(node)
        elif node.op_type == "Add" and self._skips_quantized(node):
            yield "both inputs of a residual Add are quantized: quantize the skip input alone"

    def _of_quantizer(self, node: onnx.NodeProto) -> Iterator[str]:
        """Type and values of scale and zero-point."""
        zero = self._constant(node, 2)
        quantized = self.constants.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if zero is None and len(node.input) > 2 and node.input[2]:
            yield "its zero-point is not a constant"
        elif zero is None and (quantized is None or quantized.data_type != onnx.TensorProto.INT8):
            yield "it has no zero-point, so its type is UINT8: TensorRT takes INT8 alone"
        elif zero is not None and zero.dtype != np.int8:
            yield f"its type is {zero.dtype.name.upper()}: TensorRT takes INT8 alone"
        elif zero is not None and zero.any():
            yield "its zero-point is not 0: TensorRT's quantization is symmetric"
        scale = self._constant(node, 1)
        if scale is None:
            yield "its scale is not a constant"
        elif not (np.isfinite(scale) & (scale > 0)).all():
            yield "its scale is not positive"

    def _of_quantize(self, node: onnx.NodeProto) -> Iterator[str]:
        if any(reader.op_type != "DequantizeLinear" for reader in self.readers[node.output[0]]):
            yield "its output is read by other nodes than DequantizeLinear"
        if self.outputs.intersection(node.output):
            yield "the graph's output is quantized"
        maker = self.makers.get(node.input[0])
        if maker is not None and (maker.op_type in LAYERS or maker.op_type in PRODUCTS):
            activation = next((r for r in self._behind(node) if r.op_type in ACTIVATIONS), None)
            if activation is not None:
                yield f"it parts {maker.name} from its {activation.op_type}: quantize behind that"

    def _of_dequantize(self, node: onnx.NodeProto) -> Iterator[str]:
        if self.outputs.intersection(node.output):
            yield "the graph's output is quantized"
        maker = self.makers.get(node.input[0])
        if node.input[0] not in self.constants and (maker is None or maker.op_type != "QuantizeLinear"):
            yield "it does not follow a QuantizeLinear"
        if maker is not None and maker.op_type == "QuantizeLinear":
            if not np.array_equal(self._scale(maker), self._scale(node)):
                yield "its scale is not that of its QuantizeLinear"
            if self._scale(node).size > 1:
                yield "an activation has a scale for each channel: TensorRT wants one"
        for reader in self.readers[node.output[0]]:
            if node.input[0] in self.constants and not self._is_weight(node.output[0], reader):
                yield f"a constant of {reader.name} ({reader.op_type}) is quantized: only weights may be"

    def _of_layer(self, node: onnx.NodeProto) -> Iterator[str]:
        """Weights per output channel, bias in float, both inputs quantized or none."""
        activation, weight = (self._dequantizer(name) for name in node.input[:2])
        if len(node.input) > 2 and self._dequantizer(node.input[2]) is not None:
            yield "its bias is quantized: leave it in float"
        if weight is None and activation is not None and node.input[1] in self.constants:
            yield "its input is quantized and its weights are not"
        if weight is not None and self._is_constant(weight.input[0]):
            if activation is None:
                yield "its weights are quantized and its input is not"
            yield from self._of_weight(node, weight)

    def _of_weight(self, node: onnx.NodeProto, weight: onnx.NodeProto) -> Iterator[str]:
        shape, size = self._weight_shape(weight), self._scale(weight).size
        wanted = self._weight_axis(node, len(shape))
        axis = next((a.i for a in weight.attribute if a.name == "axis"), 1) % max(len(shape), 1)
        if size == 1 and shape[wanted] > 1:
            yield "its weights have one scale: TensorRT wants one for each output channel"
        elif size > 1 and axis != wanted:
            yield f"its weights' scales lie along axis {axis}, its output channels along {wanted}"

    def _of_concat(self, node: onnx.NodeProto) -> Iterator[str]:
        scales = [self._scale(maker) for name in node.input if (maker := self._dequantizer(name)) is not None]
        if any(not np.array_equal(scale, scales[0]) for scale in scales[1:]):
            yield "its inputs are quantized with different scales: share one"

    def _skips_quantized(self, node: onnx.NodeProto) -> bool:
        pairs = [self._dequantizer(name) for name in node.input]
        return all(pair is not None and not self._is_constant(pair.input[0]) for pair in pairs)

    def _behind(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Who reads what a QuantizeLinear quantized."""
        return [reader for pair in self.readers[node.output[0]] for reader in self.readers[pair.output[0]]]

    def _dequantizer(self, name: str) -> onnx.NodeProto | None:
        maker = self.makers.get(name)
        return maker if maker is not None and maker.op_type == "DequantizeLinear" else None

    def _is_weight(self, name: str, reader: onnx.NodeProto) -> bool:
        return (reader.op_type in LAYERS or reader.op_type in PRODUCTS) and name != reader.input[0]

    def _is_constant(self, name: str) -> bool:
        """Whether a tensor is a constant, or a constant that a QuantizeLinear quantizes."""
        maker = self.makers.get(name)
        return name in self.constants or (maker is not None and maker.input[:1] and maker.input[0] in self.constants)

    def _weight_shape(self, weight: onnx.NodeProto) -> list[int]:
        name = weight.input[0]
        return list(self.constants[name if name in self.constants else self.makers[name].input[0]].dims)

    def _weight_axis(self, node: onnx.NodeProto, rank: int) -> int:
        if node.op_type in LAYERS:
            return LAYERS[node.op_type]
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        return 0 if transposed else rank - 1

    def _constant(self, node: onnx.NodeProto, index: int) -> npt.NDArray[Any] | None:
        tensor = self.constants.get(node.input[index]) if index < len(node.input) else None
        return None if tensor is None else numpy_helper.to_array(tensor)

    def _scale(self, node: onnx.NodeProto) -> npt.NDArray[Any]:
        scale = self._constant(node, 1)
        return np.empty(0) if scale is None else scale
