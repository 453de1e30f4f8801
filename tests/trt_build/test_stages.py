"""Golden stage checks: scenes that are what they say, graphs that agree, and faults found where they are."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from edge.bundles.manifest import OUTPUTS
from training.models.faster_rcnn_vgg16 import FasterRcnnVgg16
from training.models.recognizer import Recognizer
from training.models.recognizer_paper import PaperRecognizer
from training.models.two_stage import TwoStage
from training.onnx_graphs import write_fp32
from trt_build.checks import scenes, stages
from trt_build.checks.differences import (
    TOLERANCE,
    Difference,
    DisagreementError,
    largest,
    of_box_sets,
    of_detections,
)
from trt_build.folding import fold

NETWORKS: dict[str, Callable[[], TwoStage]] = {
    "paper": lambda: PaperRecognizer(3, (96, 128)),
    "field, one label": lambda: Recognizer(1, (64, 96)),
    "vgg16": lambda: FasterRcnnVgg16(3, (64, 64), width=2),
}


def staged(network: TwoStage, folder: Path) -> onnx.ModelProto:
    path = folder / "network.onnx"
    example = (torch.rand(1, 1, network.height, network.width),)
    with stages.answering_stages(network):
        write_fp32(network, example, path, inputs=["image"], outputs=[*OUTPUTS["recognizer"], *stages.BETWEEN])
    model = onnx.load(path)
    fold(model)
    return model


@pytest.fixture(scope="module")
def network() -> TwoStage:
    torch.manual_seed(0)
    return PaperRecognizer(3, (96, 128)).eval()


@pytest.fixture(scope="module")
def graph(network: TwoStage, tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    return staged(network, tmp_path_factory.mktemp("graph"))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_stages_of_a_graph_agree(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    found = stages.compare_stages(network, staged(network, tmp_path))
    assert list(found) == list(stages.CUTS)
    assert all(difference < TOLERANCE / 10 for difference in found.values()), found


def test_a_network_answers_as_before_afterwards(network: TwoStage, graph: onnx.ModelProto) -> None:
    assert len(network(torch.rand(1, 1, 96, 128))) == 3


def test_the_stages_together_are_the_whole_graph(network: TwoStage, graph: onnx.ModelProto) -> None:
    comparison = stages.Comparison(network, graph)
    parts = [node.name for part in comparison.parts.values() for node in part.model.graph.node]
    assert sorted(parts) == sorted(node.name for node in graph.graph.node)


def scale(tensor: onnx.TensorProto, factor: float) -> None:
    value = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array((value * factor).astype(value.dtype), tensor.name))


def scale_weights(name: str) -> Callable[[onnx.GraphProto], None]:
    def spoil(graph: onnx.GraphProto) -> None:
        (tensor,) = (tensor for tensor in graph.initializer if tensor.name == name)
        scale(tensor, 1.05)

    return spoil


def scale_number(value: float, operator: str, factor: float) -> Callable[[onnx.GraphProto], None]:
    """Another constant beside an operator: a threshold, or a limit."""

    def spoil(graph: onnx.GraphProto) -> None:
        constants = {tensor.name: tensor for tensor in graph.initializer}
        used = [constants[name] for node in graph.node if node.op_type == operator for name in node.input[1:]]
        (tensor,) = (one for one in used if np.allclose(numpy_helper.to_array(one), value))
        scale(tensor, factor)

    return spoil


def turn(operator: str, attribute: str, value: object) -> Callable[[onnx.GraphProto], None]:
    def spoil(graph: onnx.GraphProto) -> None:
        (node,) = (node for node in graph.node if node.op_type == operator)
        kept = [one for one in node.attribute if one.name != attribute]
        del node.attribute[:]
        node.attribute.extend([*kept, onnx.helper.make_attribute(attribute, value)])

    return spoil


FAULTS: dict[str, tuple[str, Callable[[onnx.GraphProto], None]]] = {
    "a convolution of the backbone": ("RPN scores", scale_weights("conv2.weight")),
    "the bias of objectness": ("RPN scores", scale_weights("rpn_objectness.weight")),
    "suppression at 0.6": ("proposals", scale_number(0.7, "Greater", 0.6 / 0.7)),
    "RoIAlign with aligned corners": ("RoI features", turn("GridSample", "align_corners", 1)),
    "RoIAlign that pads with zeros": ("RoI features", turn("GridSample", "padding_mode", "zeros")),
    "a fully connected layer": ("RoI features", scale_weights("class_logits.bias")),
    "suppression at 0.9": ("final boxes", scale_number(0.5, "Greater", 0.9 / 0.5)),
    "a score floor of 0.9": ("final boxes", scale_number(0.05, "Greater", 18)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_at_its_stage_alone(fault: str, network: TwoStage, graph: onnx.ModelProto) -> None:
    stage, spoil = FAULTS[fault]
    spoilt = onnx.ModelProto()
    spoilt.CopyFrom(graph)
    spoil(spoilt.graph)
    found = stages.compare_stages(network, spoilt)
    assert [name for name in stages.CUTS if found[name] >= TOLERANCE] == [stage], found


@pytest.mark.parametrize("count", stages.SCENES.values(), ids=list(stages.SCENES))
@pytest.mark.parametrize("name", NETWORKS)
def test_pytorch_finds_what_a_scene_holds(name: str, count: int) -> None:
    """None, one, and as many as there are slots; what stands a little aside is suppressed."""
    network = NETWORKS[name]()
    objects = scenes.objects_of(count, network.height, network.width)
    regions = min(300, len(network.anchors))
    logits = scenes.class_logits_of(count, regions, network.labels)
    deltas = scenes.deltas_of(regions, network.refine.out_features)
    boxes = scenes.regions_of(objects, regions, network.height, network.width)
    found, scores, _ = network.detections(*map(torch.from_numpy, (logits, deltas, boxes)))
    slots = int((scores > 0).sum())
    assert slots == {0: 0, 1: 1, 120: 100}[count]
    distance = np.abs(found[0, :slots, None].numpy() - objects).max(axis=2).min(axis=1, initial=np.inf)
    assert np.all(distance < 0.05 * max(network.height, network.width))


@pytest.mark.parametrize("size", [(64, 64), (96, 128), (736, 1280)])
def test_objects_lie_apart_within_the_picture(size: tuple[int, int]) -> None:
    objects = scenes.objects_of(120, *size)
    assert objects.min() >= 0 and np.all(objects[:, 2:] <= size[::-1])
    for one, other in combinations(objects, 2):
        assert np.any(np.minimum(one[2:], other[2:]) < np.maximum(one[:2], other[:2]))
    picture = scenes.draw(objects, *size)
    assert picture.shape == (1, 1, *size) and picture.min() >= 0 and picture.max() <= 1
    assert scenes.draw(objects[:0], *size).max() < 0.4 < picture.max()


@pytest.mark.parametrize("count", [0, 1, 120])
@pytest.mark.parametrize("anchors", [144, 170_000])
def test_objectness_never_ties_where_it_decides(count: int, anchors: int) -> None:
    """Proposals are ranked by sigmoid + 1 or + 0, in float32: there too."""
    corners = np.random.default_rng(5).uniform(0, 200, (anchors, 2)).astype(np.float32)
    objects = scenes.objects_of(count, 240, 320)
    logits = scenes.objectness_of(objects, np.hstack([corners, corners + 40]))[0]
    best = np.sort(logits)[::-1][:1000]
    ranked = torch.sigmoid(torch.from_numpy(best.copy())) + 1
    assert len(np.unique(best)) == len(best) == len(torch.unique(ranked))


def test_the_best_anchor_covers_an_object() -> None:
    objects = scenes.objects_of(1, 96, 128)
    anchors = np.vstack([objects + 40, objects + 1, objects + 10]).astype(np.float32)
    assert scenes.objectness_of(objects, anchors).argmax() == 1


def test_a_difference_that_is_no_number_is_one() -> None:
    with pytest.raises(
        DisagreementError, match=r"stage 1: ONNX Runtime differs from PyTorch by nan \(limit 0\.001\)"
    ):
        Difference("stage 1", largest([0.0, float("nan")])).check()
    with pytest.raises(DisagreementError):
        Difference("stage 1", TOLERANCE).check()
    Difference("stage 1", TOLERANCE / 2).check()


def detections(*boxes: tuple[float, float, int]) -> list[np.ndarray]:
    """boxes, scores, labels of (left, score, label), in four slots."""
    rows = [*boxes, *[(0.0, 0.0, 0)] * (4 - len(boxes))]
    left = np.array([[row[0] for row in rows]], np.float32)
    corners = np.stack([left, left, left + 10, left + 10], axis=-1)
    return [corners, np.array([[r[1] for r in rows]], np.float32), np.array([[r[2] for r in rows]], np.int64)]


def test_detections_that_tie_may_change_places_and_nothing_else() -> None:
    one, other = (5.0, 0.5, 1), (50.0, 0.5, 1)
    assert of_detections(detections(one, other), detections(other, one), 100) == 0
    assert of_detections(detections(one), detections((6.0, 0.5, 1)), 100) == pytest.approx(0.01)
    assert of_detections(detections(one), detections((5.0, 0.6, 1)), 100) > TOLERANCE
    assert of_detections(detections(one), detections((5.0, 0.5, 2)), 100) == np.inf
    assert of_detections(detections(one), detections(one, other), 100) == 0.5
    assert of_detections(detections(), detections(), 100) == 0
    broken = detections(one)
    broken[0][:] = np.nan
    assert np.isnan(of_detections(detections(one), broken, 100))


def test_of_sets_of_boxes_one_in_a_hundred_may_differ() -> None:
    boxes = np.random.default_rng(0).uniform(0, 1000, (300, 4)).astype(np.float32)
    assert of_box_sets(boxes, boxes[::-1], 1000) == 0
    changed = boxes.copy()
    changed[:2] += 300
    assert of_box_sets(boxes, changed, 1000) == 0
    changed[:30] += 300
    assert of_box_sets(boxes, changed, 1000) > TOLERANCE
