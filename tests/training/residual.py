"""A small graph with all that quantizers must mind: activations, a residual Add, a Concat, biases."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

Float32Array = npt.NDArray[np.float32]


def residual() -> onnx.ModelProto:
    """x -> a -> Relu -> b -> Add (skip: the Relu) -> c -> Concat(c, a) -> d -> y"""
    rng = np.random.default_rng(0)

    def conv(name: str, source: str, inputs: int, outputs: int) -> onnx.NodeProto:
        weights[f"{name}.w"] = rng.normal(size=(outputs, inputs, 3, 3)).astype(np.float32) / inputs
        weights[f"{name}.b"] = rng.normal(size=outputs).astype(np.float32)
        return helper.make_node("Conv", [source, f"{name}.w", f"{name}.b"], [name], name, pads=[1, 1, 1, 1])

    weights: dict[str, Float32Array] = {}
    nodes = [
        conv("a", "x", 1, 4),
        helper.make_node("Relu", ["a"], ["r"], "relu"),
        conv("b", "r", 4, 4),
        helper.make_node("Add", ["r", "b"], ["s"], "add"),
        conv("c", "s", 4, 4),
        helper.make_node("Concat", ["c", "r"], ["j"], "join", axis=1),
        conv("d", "j", 8, 2),
        helper.make_node("Tanh", ["d"], ["y"], "tanh"),
    ]
    graph = helper.make_graph(
        nodes,
        "residual",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 8, 8])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model: onnx.ModelProto, feed: dict[str, Float32Array], output: str = "y") -> Float32Array:
    """A graph as it is written: in float between the Q/DQ pairs."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run([output], feed)[0], np.float32)


def feeds(count: int = 4) -> list[dict[str, Float32Array]]:
    rng = np.random.default_rng(1)
    return [{"x": rng.uniform(-1, 1, (1, 1, 8, 8)).astype(np.float32)} for _ in range(count)]
