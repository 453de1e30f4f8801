"""The parts of quantization: halving a graph, how far two answers are apart, which layers suffer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.training.residual import Float32Array, feeds, residual, run
from training.quantization.graph import Layer, insert, layers
from training.quantization.ranges import find_limits
from trt_build.precision.damage import colours_apart, objects_apart
from trt_build.precision.half import half_tensors, to_half
from trt_build.precision.sensitivity import measure


class TestHalf:
    def types(self, model: onnx.ModelProto) -> dict[str, int]:
        values = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph.value_info
        return {value.name: value.type.tensor_type.elem_type for value in values}

    def test_the_bulk_is_half_and_the_ends_are_not(self) -> None:
        half = to_half(residual())
        onnx.checker.check_model(half, full_check=True)
        types = self.types(half)
        assert {types[name] for name in "arbscjd"} == {TensorProto.FLOAT16}
        casts = [(node.input[0], node.output[0]) for node in half.graph.node if node.op_type == "Cast"]
        assert casts == [("x", "x_as_float16"), ("d", "d_as_float32")]
        assert all(tensor.data_type == TensorProto.FLOAT16 for tensor in half.graph.initializer)

    def test_it_computes_nearly_the_same(self) -> None:
        for feed in feeds():
            np.testing.assert_allclose(run(to_half(residual()), feed), run(residual(), feed), atol=0.02)

    def test_a_kept_layer_stays_in_fp32_between_casts(self) -> None:
        half = to_half(residual(), keep=["c"])
        types = self.types(half)
        assert types["c"] == TensorProto.FLOAT and types["d"] == TensorProto.FLOAT16
        assert types["j"] == TensorProto.FLOAT  # a join of both types
        onnx.checker.check_model(half, full_check=True)

    def test_an_output_that_is_half_is_cast_and_others_read_on(self) -> None:
        model = residual()
        model.graph.output.append(helper.make_tensor_value_info("s", TensorProto.FLOAT, [1, 4, 8, 8]))
        half = to_half(model)
        onnx.checker.check_model(half, full_check=True)
        np.testing.assert_allclose(run(half, feeds()[0], "s"), run(model, feeds()[0], "s"), atol=0.05)

    def test_what_follows_a_softmax_stays_exact(self) -> None:
        model = residual()
        model.graph.initializer.append(numpy_helper.from_array(np.full((2, 2, 1, 1), 110, np.float32), "mean.w"))
        nodes = [
            helper.make_node("Softmax", ["d"], ["p"], "p", axis=1),
            helper.make_node("Conv", ["p", "mean.w"], ["m"]),
        ]
        model.graph.node.extend(nodes)
        assert half_tensors(onnx.shape_inference.infer_shapes(model)) == set("arbscjd")

    def test_arithmetic_on_boxes_stays_exact(self) -> None:
        model = residual()
        model.graph.initializer.append(numpy_helper.from_array(np.array([1, -1], np.int64), "shape"))
        model.graph.initializer.append(numpy_helper.from_array(np.float32(0.1), "tenth"))
        model.graph.node.append(helper.make_node("Reshape", ["d", "shape"], ["flat"]))
        model.graph.node.append(helper.make_node("Mul", ["flat", "tenth"], ["scaled"]))
        model.graph.node.append(helper.make_node("Mul", ["d", "tenth"], ["map"]))
        assert half_tensors(onnx.shape_inference.infer_shapes(model)) == {*"arbscjd", "flat", "map"}

    def test_scales_of_a_resize_stay_float(self) -> None:
        model = residual()
        model.graph.initializer.append(numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "twice"))
        model.graph.node.append(helper.make_node("Resize", ["d", "", "twice"], ["large"], mode="nearest"))
        model.graph.output.append(helper.make_tensor_value_info("large", TensorProto.FLOAT, [1, 2, 16, 16]))
        onnx.checker.check_model(to_half(model), full_check=True)
        assert self.types(to_half(model))["large_as_float16"] == TensorProto.FLOAT16

    def test_quantizers_are_half_with_the_same_scales(self) -> None:
        exact = residual()
        exact.opset_import[0].version = 19
        quantized = insert(exact, layers(exact), limits_of(exact))
        half = to_half(quantized)
        onnx.checker.check_model(half, full_check=True)
        scales = {t.name: numpy_helper.to_array(t) for t in (*quantized.graph.initializer, *half.graph.initializer)}
        names = [name for name in scales if name.endswith("_scale")]
        assert len(names) == 8
        for name in names:
            assert np.array_equal(scales[name], scales[f"{name}_as_float16"].astype(np.float32))
        np.testing.assert_allclose(run(half, feeds()[0]), run(quantized, feeds()[0]), atol=0.1)

    def test_constants_beyond_fp16_become_its_largest(self) -> None:
        model = residual()
        model.graph.initializer.append(numpy_helper.from_array(np.float32(3e38), "no_limit"))
        relu = next(node for node in model.graph.node if node.name == "relu")
        relu.op_type = "Clip"
        relu.input.extend(["", "no_limit"])
        constants = {tensor.name: tensor for tensor in to_half(model).graph.initializer}
        assert numpy_helper.to_array(constants["no_limit_as_float16"]) == 65504


def limits_of(model: onnx.ModelProto) -> dict[str, float]:
    return find_limits(model, [layer.activation for layer in layers(model)], feeds())


class TestSensitivity:
    """Of a graph in which one layer's weights hold an outlier in each channel, so that INT8 leaves little of them."""

    @pytest.fixture
    def model(self) -> onnx.ModelProto:
        model = residual()
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "b.w")
        values = numpy_helper.to_array(tensor).copy()
        values[:, 0, 0, 0] = 40
        tensor.CopyFrom(numpy_helper.from_array(values, "b.w"))
        return model

    def damage(self, model: onnx.ModelProto) -> Callable[[onnx.ModelProto], float]:
        truth = [run(model, feed) for feed in feeds()]
        return lambda other: float(
            np.mean([np.abs(run(other, f) - t).mean() for f, t in zip(feeds(), truth, strict=True)])
        )

    def find(
        self, model: onnx.ModelProto, acceptable: float
    ) -> tuple[list[str], tuple[Layer, ...], tuple[float, ...]]:
        found = measure(model, layers(model), limits_of(model), self.damage(model), acceptable)
        return [layer.name for layer in found.alone], found.kept, found.whole

    def test_the_layer_that_suffers_most_stays_in_float(self, model: onnx.ModelProto) -> None:
        order, kept, whole = self.find(model, acceptable=0.0)
        assert order[0] == "b" and [layer.name for layer in kept] == ["b"]
        assert len(whole) == 2 and whole[1] < whole[0]

    def test_none_stays_where_all_are_good_enough(self, model: onnx.ModelProto) -> None:
        _, kept, whole = self.find(model, acceptable=10.0)
        assert kept == () and len(whole) == 1


class TestDistance:
    def answer(self, boxes: list[list[float]], scores: list[float], labels: list[int]) -> dict[str, Float32Array]:
        return {
            "boxes": np.array(boxes, np.float32).reshape(1, -1, 4),
            "scores": np.array(scores, np.float32)[None],
            "labels": np.array(labels, np.int64)[None],
        }

    def test_the_same_objects_in_another_order(self) -> None:
        one = self.answer([[0, 0, 10, 10], [50, 50, 60, 60]], [0.9, 0.8], [1, 2])
        other = self.answer([[50, 50, 60, 60], [0, 0, 10, 10]], [0.8, 0.9], [2, 1])
        assert objects_apart(one, other) == pytest.approx(0, abs=1e-6)

    def test_objects_count_with_their_scores(self) -> None:
        box = [0.0, 0.0, 10.0, 10.0]
        one = self.answer([box, [50, 50, 60, 60]], [0.9, 0.1], [1, 2])
        without_the_weak = self.answer([box], [0.9], [1])
        without_the_strong = self.answer([[50, 50, 60, 60]], [0.1], [2])
        assert objects_apart(one, without_the_weak) == pytest.approx(1 - 2 * 0.9 / 1.9)
        assert objects_apart(one, without_the_strong) == pytest.approx(1 - 2 * 0.1 / 1.1)

    @pytest.mark.parametrize(
        ("box", "score", "label", "distance"),
        [
            ([0, 0, 10, 10], 0.6, 1, 1 - 2 * 0.6 / 1.4),  # a lower score
            ([0, 0, 10, 8], 0.8, 1, 0.2),  # a smaller box
            ([0, 0, 10, 4], 0.8, 1, 1.0),  # another box
            ([0, 0, 10, 10], 0.8, 2, 1.0),  # another label
        ],
    )
    def test_what_differs_counts(self, box: list[float], score: float, label: int, distance: float) -> None:
        one = self.answer([[0, 0, 10, 10]], [0.8], [1])
        assert objects_apart(one, self.answer([box], [score], [label])) == pytest.approx(distance, abs=1e-6)

    def test_an_object_stands_for_one_other_alone(self) -> None:
        two = self.answer([[0, 0, 10, 10], [0, 0, 10, 9]], [0.8, 0.8], [1, 1])
        assert objects_apart(two, self.answer([[0, 0, 10, 10]], [0.8], [1])) == pytest.approx(1 - 2 * 0.8 / 2.4)

    def test_nothing_on_both_sides_is_agreement(self) -> None:
        nothing = self.answer([[0, 0, 0, 0]], [0.0], [0])
        assert objects_apart(nothing, nothing) == 0
        assert objects_apart(nothing, self.answer([[0, 0, 9, 9]], [0.5], [0])) == 1

    def test_colours_are_apart_by_ciede2000(self) -> None:
        luma = np.full((20, 20), 0.5, np.float32)
        grey, red = np.zeros((2, 10, 10), np.float32), np.zeros((2, 10, 10), np.float32)
        red[0] = 1.0
        assert colours_apart(luma, grey, grey) == 0
        assert colours_apart(luma, grey, red) == pytest.approx(1.47, abs=0.02)  # a step from grey is stretched by 1.5
