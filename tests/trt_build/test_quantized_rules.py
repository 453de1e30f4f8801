"""Each of TensorRT's rules for Q/DQ nodes, broken once in a graph that keeps them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.training.residual import feeds, residual
from training.quantization.graph import insert, layers
from training.quantization.ranges import find_limits
from trt_build.checks.quantized import QuantizationError, check_model, violations

Graph = onnx.GraphProto


@pytest.fixture
def model() -> onnx.ModelProto:
    exact = residual()
    chosen = layers(exact)
    return insert(exact, chosen, find_limits(exact, [layer.activation for layer in chosen], feeds()))


def node(graph: Graph, name: str) -> onnx.NodeProto:
    return next(each for each in graph.node if each.name == name)


def put(graph: Graph, name: str, values: object) -> None:
    """Give a constant other values, and another type."""
    tensor = next(each for each in graph.initializer if each.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(values), name))


def quantize(graph: Graph, tensor: str, before: str, index: int, scale: float = 0.1) -> None:
    """Put a Q/DQ pair on one input of a node."""
    graph.initializer.append(numpy_helper.from_array(np.float32(scale), f"{tensor}_own_scale"))
    graph.initializer.append(numpy_helper.from_array(np.int8(0), f"{tensor}_own_zero"))
    rest = [f"{tensor}_own_scale", f"{tensor}_own_zero"]
    pair = [
        helper.make_node("QuantizeLinear", [tensor, *rest], [f"{tensor}_own_q"], f"{tensor}_own_Q"),
        helper.make_node("DequantizeLinear", [f"{tensor}_own_q", *rest], [f"{tensor}_own"], f"{tensor}_own_DQ"),
    ]
    nodes = list(graph.node)
    place = next(i for i, each in enumerate(nodes) if each.name == before)
    nodes[place].input[index] = f"{tensor}_own"
    nodes[place:place] = pair
    kept = [onnx.NodeProto.FromString(each.SerializeToString()) for each in nodes]
    del graph.node[:]
    graph.node.extend(kept)


def uint8(graph: Graph) -> None:
    put(graph, "s_zero", np.uint8(0))


def no_zero_point(graph: Graph) -> None:
    for name in ("s_Q", "s_DQ"):
        del node(graph, name).input[2]


def shifted(graph: Graph) -> None:
    put(graph, "s_zero", np.int8(3))


def one_scale_for_weights(graph: Graph) -> None:
    put(graph, "c.w_scale", np.float32(0.1))
    put(graph, "c.w_zero", np.int8(0))
    del node(graph, "c.w_DQ").attribute[:]


def wrong_axis(graph: Graph) -> None:
    node(graph, "c.w_DQ").attribute[0].i = 1


def float_weights(graph: Graph) -> None:
    graph.initializer.append(numpy_helper.from_array(np.ones((4, 4, 3, 3), np.float32), "float"))
    node(graph, "c").input[1] = "float"


def float_input(graph: Graph) -> None:
    node(graph, "c").input[0] = "s"


def bias(graph: Graph) -> None:
    quantize(graph, "c.b", "c", 2)


def output(graph: Graph) -> None:
    quantize(graph, "d", "tanh", 0)
    node(graph, "d_own_DQ").output[0] = "y"
    graph.node.remove(node(graph, "tanh"))


def before_an_activation(graph: Graph) -> None:
    quantize(graph, "a", "relu", 0)


def different_scales_over_concat(graph: Graph) -> None:
    quantize(graph, "c", "join", 0, 0.1)
    quantize(graph, "r", "join", 1, 0.2)


def both_inputs_of_an_add(graph: Graph) -> None:
    quantize(graph, "b", "add", 1)


def constant_of_another_node(graph: Graph) -> None:
    graph.initializer.append(numpy_helper.from_array(np.ones((1, 4, 1, 1), np.int8), "ones"))
    graph.node.insert(0, helper.make_node("DequantizeLinear", ["ones", "s_scale", "s_zero"], ["o"], "o_DQ"))
    node(graph, "add").input[0] = "o"


def pair_of_two_scales(graph: Graph) -> None:
    graph.initializer.append(numpy_helper.from_array(np.float32(9), "other"))
    node(graph, "s_DQ").input[1] = "other"


def scale_for_each_channel_of_an_activation(graph: Graph) -> None:
    put(graph, "s_scale", np.full(4, 0.1, np.float32))
    put(graph, "s_zero", np.zeros(4, np.int8))


def scale_of_zero(graph: Graph) -> None:
    put(graph, "s_scale", np.float32(0))


def read_as_integers(graph: Graph) -> None:
    graph.node.append(helper.make_node("Identity", ["s_quantized"], ["i"], "peek"))


CASES: dict[str, tuple[Callable[[Graph], None], str, str]] = {
    "uint8": (uint8, "s_Q", "UINT8"),
    "no zero-point": (no_zero_point, "s_Q", "its type is UINT8"),
    "zero-point": (shifted, "s_Q", "zero-point is not 0"),
    "weights of one scale": (one_scale_for_weights, "c", "one for each output channel"),
    "weights along the wrong axis": (wrong_axis, "c", "along axis 1, its output channels along 0"),
    "float weights": (float_weights, "c", "its weights are not"),
    "float input": (float_input, "c", "its input is not"),
    "bias": (bias, "c", "bias is quantized"),
    "output": (output, "d_own_DQ", "the graph's output is quantized"),
    "before an activation": (before_an_activation, "a_own_Q", "parts a from its Relu"),
    "concat": (different_scales_over_concat, "join", "different scales"),
    "add": (both_inputs_of_an_add, "add", "both inputs of a residual Add"),
    "constant": (constant_of_another_node, "o_DQ", "a constant of add (Add) is quantized"),
    "pair": (pair_of_two_scales, "s_DQ", "not that of its QuantizeLinear"),
    "per-channel activation": (scale_for_each_channel_of_an_activation, "s_DQ", "TensorRT wants one"),
    "scale": (scale_of_zero, "s_Q", "not positive"),
    "integers": (read_as_integers, "s_Q", "read by other nodes"),
}


def test_what_we_write_keeps_the_rules(model: onnx.ModelProto) -> None:
    assert violations(model) == []
    assert violations(residual()) == []


@pytest.mark.parametrize("case", CASES)
def test_a_broken_rule_is_named_with_its_node(case: str, model: onnx.ModelProto) -> None:
    break_it, where, what = CASES[case]
    break_it(model.graph)
    found = violations(model)
    assert any(each.startswith(f"{where}: ") and what in each for each in found), found
    with pytest.raises(QuantizationError, match=r"^x\.onnx: .*: run tapetum-build quantize again$"):
        check_model(model, "x.onnx")


def test_an_error_shows_the_first_violations_alone(model: onnx.ModelProto) -> None:
    for tensor in ("x", "r", "s", "j"):
        put(model.graph, f"{tensor}_zero", np.int8(1))
    with pytest.raises(QuantizationError) as raised:
        check_model(model, "x.onnx")
    assert str(raised.value).count("zero-point") == 3 and "(and 5 more)" in str(raised.value)


def test_tensorrt_refuses_what_the_checker_refuses(model: onnx.ModelProto, tensorrt: Any) -> None:
    """At least where it refuses at all: much it only builds slowly."""
    assert _builds(tensorrt, model)
    shifted(model.graph)
    assert violations(model) and not _builds(tensorrt, model)


def _builds(trt: Any, model: onnx.ModelProto) -> bool:
    logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    if not trt.OnnxParser(network, logger).parse(model.SerializeToString()):
        return False
    return builder.build_serialized_network(network, builder.create_builder_config()) is not None
