"""Golden checks of a recognizer's stages: what PyTorch answers at each, against the exported graph's own nodes.

A detector hides its faults: a wrong box may be suppressed, a wrong score lie under the floor. So the graph that ships
is cut at the values between its stages, each stage is given what PyTorch's has, and the answers are compared::

    picture ─ RPN scores ─ proposals ─ RoI features ─ final boxes

in scenes without an object, with one, and with more than there are slots for. What decides there, objectness and
class scores, is made up: a network need not know these objects. See `trt_build.checks.scenes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import onnx
import torch
from onnx.utils import Extractor
from torch import Tensor

from edge.bundles.manifest import OUTPUTS
from edge.types import Float32Array
from training.models.boxes import roi_align
from training.models.two_stage import DETECTIONS, POOLED, Rpn, TwoStage
from trt_build.checks import scenes
from trt_build.checks.differences import Array, largest, of_box_sets, of_detections, relative
from trt_build.graphs import session

BETWEEN = ("features", "objectness", "deltas", "proposals", "class_logits", "box_deltas")
SCENES = {"no object": 0, "one object": 1, "more than the slots": DETECTIONS + 20}
# Where a graph is cut: each stage from some of its values to others. RoIAlign's own answer gets its name here.
CUTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "RPN scores": (("image",), ("features", "objectness", "deltas")),
    "proposals": (("objectness", "deltas"), ("proposals",)),
    "RoI features": (("features", "proposals"), ("roi_features", "class_logits", "box_deltas")),
    "final boxes": (("class_logits", "box_deltas", "proposals"), OUTPUTS["recognizer"]),
}


@contextmanager
def answering_stages(network: TwoStage) -> Iterator[None]:
    """Within the block a recognizer gives the values of `BETWEEN` too, so that its graph has names for them."""

    def forward(luma: Tensor) -> tuple[Tensor, ...]:
        features = network.features(luma)
        rpn = network.rpn(features)
        proposals = network.proposals(rpn)
        logits, deltas = network.roi_heads(features, proposals)
        found = network.detections(logits, deltas, proposals)
        return *found, features[0], rpn.objectness, rpn.deltas, proposals, logits, deltas

    network.forward = forward  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del network.forward  # the class's own again


def compare_stages(network: TwoStage, model: onnx.ModelProto) -> dict[str, float]:
    """The largest difference at each stage of `CUTS`, over all scenes.

    Args:
        network: in evaluation mode.
        model: its graph, traced while it was `answering_stages`: the values of `BETWEEN` have their names.
    """
    comparison = Comparison(network, model)
    found = [comparison.run(count) for count in SCENES.values()]
    return {stage: largest([differences[stage] for differences in found]) for stage in CUTS}


class Comparison:
    """A recognizer and its graph, stage by stage."""

    def __init__(self, network: TwoStage, model: onnx.ModelProto) -> None:
        self._network = network
        self._size = network.height, network.width
        named = _with_roi_features(model)
        self.parts = {stage: Part(named, *cut) for stage, cut in CUTS.items()}

    @torch.no_grad()
    def run(self, count: int) -> dict[str, float]:
        """The difference at each stage in a scene of so many objects."""
        objects = scenes.objects_of(count, *self._size)
        picture = torch.from_numpy(scenes.draw(objects, *self._size))
        objectness = torch.from_numpy(scenes.objectness_of(objects, self._network.anchors.numpy()))

        features = self._network.features(picture)
        rpn = self._network.rpn(features)
        proposals = self._network.proposals(Rpn(objectness, rpn.deltas))
        return {
            "RPN scores": self._rpn_scores(picture, features, rpn),
            "proposals": self._chosen(objectness, rpn.deltas, proposals),
            "RoI features": self._roi_features(features, proposals),
            "final boxes": self._final_boxes(objects, proposals.shape[1]),
        }

    def _rpn_scores(self, picture: Tensor, features: Sequence[Tensor], rpn: Rpn) -> float:
        got = self.parts["RPN scores"](picture)
        return _furthest([features[0], rpn.objectness, rpn.deltas], got)

    def _chosen(self, objectness: Tensor, deltas: Tensor, proposals: Tensor) -> float:
        (got,) = self.parts["proposals"](objectness, deltas)
        return of_box_sets(proposals[0].numpy(), got[0], max(self._size))

    def _roi_features(self, features: Sequence[Tensor], proposals: Tensor) -> float:
        got = self.parts["RoI features"](features[0], proposals)
        pooled = roi_align(features[0], proposals, self._network.levels[0].stride, size=POOLED)
        expected = [pooled.reshape(got[0].shape), *self._network.roi_heads(features, proposals)]
        return _furthest(expected, got)

    def _final_boxes(self, objects: Float32Array, count: int) -> float:
        """Of regions that are the objects, each of them again a little aside, and background."""
        labels, numbers = self._network.labels, self._network.refine.out_features
        logits = torch.from_numpy(scenes.class_logits_of(len(objects), count, labels))
        deltas = torch.from_numpy(scenes.deltas_of(count, numbers))
        regions = torch.from_numpy(scenes.regions_of(objects, count, *self._size))
        expected = self._network.detections(logits, deltas, regions)
        got = self.parts["final boxes"](logits, deltas, regions)
        return of_detections([value.numpy() for value in expected], got, max(self._size))


class Part:
    """The nodes of a graph that lie between some of its values, run by ONNX Runtime."""

    def __init__(self, model: onnx.ModelProto, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        self._inputs = inputs
        self.model = Extractor(model).extract_model(list(inputs), list(outputs))
        self._session = session(self.model, threads=1)

    def __call__(self, *values: Tensor) -> list[Array]:
        """The outputs for the inputs, each in the order given."""
        feed = {name: value.numpy() for name, value in zip(self._inputs, values, strict=True)}
        answers: list[Array] = self._session.run(None, feed)
        return answers


def _furthest(expected: Sequence[Tensor], got: Sequence[Array]) -> float:
    return largest([relative(one.numpy(), other) for one, other in zip(expected, got, strict=True)])


def _with_roi_features(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which RoIAlign's answer, that of its one GridSample, has a name: float32[1, C, N * 7, 7]."""
    named = onnx.shape_inference.infer_shapes(model)
    (sampling,) = (node for node in named.graph.node if node.op_type == "GridSample")
    old = sampling.output[0]
    places = [node.input for node in named.graph.node] + [sampling.output]
    for names in places:
        names[:] = ["roi_features" if name == old else name for name in names]
    for value in named.graph.value_info:
        if value.name == old:
            value.name = "roi_features"
    return named
