"""INT8 ranges, and where quantizers stand in a graph."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.training.residual import Float32Array, feeds, residual, run
from training.quantization.graph import Layer, insert, layers
from training.quantization.ranges import Histogram, Largest, Method, find_limits


def limits_of(model: onnx.ModelProto, feeds: list[dict[str, Float32Array]]) -> dict[str, float]:
    return find_limits(model, [layer.activation for layer in layers(model)], feeds)


def test_limits_are_what_the_tensors_reach() -> None:
    model = residual()
    limits = limits_of(model, feeds())
    model.graph.output.append(onnx.ValueInfoProto(name="s"))
    largest = max(float(np.abs(run(model, feed, "s")).max()) for feed in feeds())
    assert limits["s"] == pytest.approx(largest, rel=1e-5)
    assert limits["x"] == pytest.approx(max(float(np.abs(feed["x"]).max()) for feed in feeds()))


def test_only_layers_with_constant_weights_become_int8() -> None:
    model = residual()
    model.graph.node.append(helper.make_node("MatMul", ["d", "d"], ["square"], "square"))
    assert [layer.name for layer in layers(model)] == ["a", "b", "c", "d"]
    ones = numpy_helper.from_array(np.ones((8, 3), np.float32), "ones")
    model.graph.initializer.append(ones)
    model.graph.node.append(helper.make_node("MatMul", ["d", "ones"], ["sum"], "sum"))
    assert layers(model)[-1] == Layer("sum", "d", "ones", axis=1)


def test_int8_computes_nearly_the_same() -> None:
    model = residual()
    quantized = insert(model, layers(model), limits_of(model, feeds()))
    onnx.checker.check_model(quantized, full_check=True)
    for feed in feeds():
        exact, rounded = (run(each, feed) for each in (model, quantized))
        assert 0 < np.abs(exact - rounded).mean() < 0.02


def test_one_pair_serves_all_readers_and_the_skip_but_not_the_other_input() -> None:
    model = residual()
    graph = insert(model, layers(model), limits_of(model, feeds())).graph
    inputs = {node.name: list(node.input) for node in graph.node}
    assert inputs["add"] == ["r_dequantized", "b"]
    assert inputs["b"][0] == "r_dequantized"
    assert inputs["relu"] == ["a"]  # nothing between a layer and its activation
    assert inputs["join"] == ["c", "r"]  # one scale for all, behind it
    assert inputs["b"][2] == "b.b" and [o.name for o in graph.output] == ["y"]
    assert sum(node.op_type == "QuantizeLinear" for node in graph.node) == 4


def test_of_two_inputs_with_pairs_the_older_one_is_the_skip() -> None:
    model = residual()
    ones = numpy_helper.from_array(np.ones((1, 4, 1, 1), np.float32), "ones")
    model.graph.initializer.append(ones)
    model.graph.node.append(helper.make_node("Conv", ["b", "ones"], ["e"], "e"))  # now b has a pair too
    add = next(node for node in model.graph.node if node.name == "add")
    for inputs in (["r", "b"], ["b", "r"]):
        add.input[:] = inputs
        graph = insert(model, layers(model), limits_of(model, feeds())).graph
        found = next(node for node in graph.node if node.name == "add")
        assert sorted(found.input) == ["b", "r_dequantized"]


def test_a_layer_that_is_left_out_stays_as_it_was() -> None:
    model = residual()
    chosen = [layer for layer in layers(model) if layer.name != "c"]
    graph = insert(model, chosen, limits_of(model, feeds())).graph
    before, after = ({n.name: n for n in m.node}["c"] for m in (model.graph, graph))
    assert before == after
    assert insert(model, [], {}).graph.node == model.graph.node


def test_scales_are_per_channel_and_exact_in_fp16() -> None:
    model = residual()
    dead = next(tensor for tensor in model.graph.initializer if tensor.name == "b.w")
    values = numpy_helper.to_array(dead).copy()
    values[1] = 0
    dead.CopyFrom(numpy_helper.from_array(values, "b.w"))
    graph = insert(model, layers(model), limits_of(model, feeds())).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    assert constants["b.w_scale"].shape == (4,)
    assert constants["b.w_scale"] == pytest.approx(np.abs(values).max(axis=(1, 2, 3)) / 127, rel=1e-3, abs=1e-6)
    for name, scale in constants.items():
        if name.endswith("_scale"):
            assert (scale > 0).all() and np.array_equal(scale, scale.astype(np.float16))
    assert "b.w" not in constants


def test_largest_sees_both_signs() -> None:
    largest = Largest()
    largest.add(np.array([1.0, -3.0], np.float32))
    largest.add(np.array([2.0], np.float32))
    assert largest.limit() == 3


@pytest.mark.parametrize("method", ["entropy", "percentile"])
def test_an_outlier_does_not_set_the_range(method: Method) -> None:
    values = np.abs(np.random.default_rng(0).normal(size=200_000)).astype(np.float32)
    histogram = Histogram(method)
    histogram.add(values)
    histogram.add(np.array([100.0], np.float32))
    assert 2 < histogram.limit() < 10


def test_a_percentile_is_that_of_the_values() -> None:
    values = np.random.default_rng(0).exponential(size=300_000).astype(np.float32)
    histogram = Histogram("percentile")
    for part in np.split(np.sort(values), 100):  # each larger than all before it
        histogram.add(part)
    assert histogram.limit() == pytest.approx(float(np.quantile(values, 0.9999)), rel=0.02)


@pytest.mark.parametrize("method", ["entropy", "percentile"])
def test_zeros_do_not_count(method: Method) -> None:
    """As behind a ReLU that is seldom busy."""
    histogram = Histogram(method)
    histogram.add(np.linspace(0.01, 6, 10_000, dtype=np.float32))
    histogram.add(np.zeros(10**8 // 10, np.float32))
    assert histogram.limit() == pytest.approx(6, rel=0.01)


@pytest.mark.parametrize("method", ["entropy", "percentile"])
def test_nothing_is_clipped_where_all_is_even(method: Method) -> None:
    histogram = Histogram(method)
    histogram.add(np.linspace(0, 6, 100_000, dtype=np.float32))  # as behind a ReLU6 that is always busy
    assert histogram.limit() == pytest.approx(6, rel=0.01)


@pytest.mark.parametrize("magnitudes", [Largest(), Histogram("entropy"), Histogram("percentile")])
def test_zeros_have_no_range(magnitudes: Largest | Histogram) -> None:
    magnitudes.add(np.zeros((2, 3), np.float32))
    assert magnitudes.limit() == 0


@pytest.mark.parametrize("broken", [np.nan, np.inf])
@pytest.mark.parametrize("make", [Largest, partial(Histogram, "entropy"), partial(Histogram, "percentile")])
def test_what_is_not_finite_shows_in_the_limit(make: Callable[[], Largest | Histogram], broken: float) -> None:
    """So that no scale is made of it: see trt_build.checks.quantized."""
    magnitudes = make()
    for values in ([1.0, broken], [2.0, 3.0]):
        magnitudes.add(np.array(values, np.float32))
    assert not np.isfinite(magnitudes.limit())


def test_a_tensor_of_zeros_can_be_quantized() -> None:
    model = residual()
    limits = limits_of(model, feeds()) | {"s": 0.0}
    quantized = insert(model, layers(model), limits)
    assert np.isfinite(run(quantized, feeds()[0])).all()
