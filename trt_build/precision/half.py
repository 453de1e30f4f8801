"""FP32 graph, or the float part of a Q/DQ graph, to FP16: in the graph's own tensor types, as TensorRT reads them.

What becomes FP16 follows from the graph, not from names: convolutions and matrix products with constant weights, the
quantizers around them, and what carries their results on: activations, pooling, joins, and arithmetic on maps.
Everything else stays FP32: the input's normalisation, softmax and sigmoid and what follows from them (scores, mean
colours), box decoding, coordinates, suppression. There range or exactness shows in the answer, and it costs little.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from training.quantization.graph import replace_nodes

DENSE = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
QUANTIZERS = {"QuantizeLinear", "DequantizeLinear"}
# They hand values on, or give values of about the size of those they take.
CARRIERS = {
    *("BatchNormalization", "Clip", "HardSwish", "LeakyRelu", "PRelu", "Relu"),
    *("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "ReduceMean"),
    *("Concat", "DepthToSpace", "Expand", "Flatten", "Identity", "Pad", "Reshape", "Resize"),
    *("Squeeze", "Transpose", "Unsqueeze"),
}
ON_MAPS = {"Add", "Div", "Mul", "Slice", "Sub"}  # of maps [B, C, H, W]; on boxes and scores they are decoding
LARGEST = float(np.finfo(np.float16).max)


def to_half(model: onnx.ModelProto, keep: Sequence[str] = ()) -> onnx.ModelProto:
    """A copy whose bulk computes in FP16; inputs and outputs keep their types.

    Args:
        model: with its constants as initializers; opset 19 or later if it holds quantizers.
        keep: parts of names of layers that stay in FP32.
    """
    result = onnx.shape_inference.infer_shapes(model)
    halving = _Halving(result.graph, half_tensors(result, keep))
    nodes = [each for node in result.graph.node for each in halving.convert(node)]
    del result.graph.value_info[:]  # its types are out of date, and nobody needs them
    result.graph.initializer.extend(halving.constants.values())
    replace_nodes(result.graph, nodes)
    return result


def half_tensors(model: onnx.ModelProto, keep: Sequence[str] = ()) -> set[str]:
    """What the nodes that compute in FP16 give. Shapes must be inferred."""
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    maps = {value.name for value in graph.value_info if len(value.type.tensor_type.shape.dim) == 4}
    made_by = {output: node.op_type for node in graph.node for output in node.output}
    half: set[str] = set()
    for node in graph.node:
        data = [name for name in node.input if name and name not in constants]
        if node.op_type in QUANTIZERS:
            chosen = True
        elif node.op_type in DENSE:  # what follows a softmax is a mean weighted by it: the answer itself
            weighted = node.input[1] in constants or made_by.get(node.input[1]) == "DequantizeLinear"
            kept = any(part in node.name for part in keep)
            chosen = weighted and not kept and made_by.get(node.input[0]) != "Softmax"
        else:
            carries = node.op_type in CARRIERS or (node.op_type in ON_MAPS and node.output[0] in maps)
            chosen = carries and bool(data) and half.issuperset(data)
        if chosen:
            half.update(node.output)
    return half


class _Halving:
    """A graph on its way to FP16, node by node in its order. A tensor that is needed in both types has two names."""

    def __init__(self, graph: onnx.GraphProto, half: set[str]) -> None:
        self.constants: dict[str, onnx.TensorProto] = {}  # the FP16 ones, by their new names
        self._half = half
        self._originals = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT}
        self._results = {value.name for value in graph.output}
        values = (*graph.input, *graph.output, *graph.value_info)
        self._floats = {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT}
        self._there: set[tuple[str, bool]] = set()  # which casts were made

    def convert(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """The node, with the casts around it."""
        half = node.output[0] in self._half
        for i, name in enumerate(node.input):
            if node.op_type == "Resize" and i > 0:  # regions and scales: float32, whatever the data is
                continue
            if name in self._originals and half:
                node.input[i] = self._constant(name)
            elif name in self._floats:
                yield from self._cast(name, half)
                node.input[i] = self._named(name, half)
        outputs = [name for name in node.output if name in self._floats]
        node.output[:] = [self._named(name, half) if name in self._floats else name for name in node.output]
        yield node
        for name in self._results.intersection(outputs):
            yield from self._cast(name, half=False)

    def _named(self, name: str, half: bool) -> str:
        """What a tensor is called in one of the types. It has its own name in the type that it is made in.

        The graph's outputs are the exception: they are float32.
        """
        if half == self._is_half(name):
            return name
        return f"{name}_as_{'float16' if half else 'float32'}"

    def _is_half(self, name: str) -> bool:
        return name in self._half and name not in self._results

    def _cast(self, name: str, half: bool) -> Iterator[onnx.NodeProto]:
        """The cast that gives a tensor in a type, unless it is made in that type or was cast before."""
        if half != (name in self._half) and (name, half) not in self._there:
            self._there.add((name, half))
            to = TensorProto.FLOAT16 if half else TensorProto.FLOAT
            result = self._named(name, half)
            yield helper.make_node("Cast", [self._named(name, not half)], [result], f"{result}_Cast", to=to)

    def _constant(self, name: str) -> str:
        values = numpy_helper.to_array(self._originals[name])
        result = f"{name}_as_float16"
        half = np.clip(values, -LARGEST, LARGEST).astype(np.float16)
        self.constants[result] = numpy_helper.from_array(half, result)
        return result
