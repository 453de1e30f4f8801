"""Graphs that keep TensorRT's builder busy, and graphs that its parser refuses."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LUMA, CONTEXT = (1, 1, 224, 224), 1000  # as the tiny bundle's context network has them


def long_context(layers: int) -> bytes:
    """A context network of so many convolutions, no two alike; TensorRT needs about 8 ms of a core for each."""
    nodes, constants, last, channels = [], [], "luma", 1
    for index in range(layers):
        width = 4 + (index * 7) % 29
        constants.append(numpy_helper.from_array(np.full((width, channels, 3, 3), 0.01, np.float32), f"w{index}"))
        nodes += [
            helper.make_node("Conv", [last, f"w{index}"], [f"c{index}"], f"/conv{index}", pads=[1, 1, 1, 1]),
            helper.make_node(("Relu", "Sigmoid", "Tanh")[index % 3], [f"c{index}"], [f"y{index}"], f"/act{index}"),
        ]
        last, channels = f"y{index}", width
    constants.append(numpy_helper.from_array(np.ones((channels, CONTEXT), np.float32), "w"))
    nodes += [
        helper.make_node("GlobalAveragePool", [last], ["pooled"], "/pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], "/flatten"),
        helper.make_node("MatMul", ["flat", "w"], ["context"], "/head"),
    ]
    return _model(nodes, LUMA, (1, CONTEXT), constants)


def unknown_operators() -> bytes:
    """Two nodes that neither ONNX nor TensorRT knows."""
    nodes = [
        helper.make_node("Brighten", ["luma"], ["bright"], "/stem/Brighten"),
        helper.make_node("Summarise", ["bright"], ["context"], "/head/Summarise"),
    ]
    return _model(nodes, LUMA, (1, CONTEXT), [])


def _model(
    nodes: list[onnx.NodeProto], luma: tuple[int, ...], context: tuple[int, ...], constants: list[onnx.TensorProto]
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("luma", TensorProto.FLOAT, luma)],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, context)],
        constants,
    )
    content: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    ).SerializeToString()
    return content
