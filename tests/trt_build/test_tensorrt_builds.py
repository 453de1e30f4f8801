"""Real engines of every network in every precision, by TensorRT's own parser and builder.

The graphs are those that the build chain writes, of untrained networks at small sizes: what is built does not depend
on what was learnt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from edge.bundles.manifest import INPUTS, OUTPUTS, ModelName, Precision
from edge.engines.store import Flags
from training.models.catalogue import build_colorizer, build_recognizer
from training.models.efficientnet_lite import LITE0, LITE2, EfficientNetLite
from training.models.faster_rcnn_vgg16 import FasterRcnnVgg16
from training.models.inception_resnet_v2 import InceptionResNetV2
from training.onnx_graphs import write_fp32
from trt_build.engines.builder import build_engine
from trt_build.graphs import GraphCard, graph_path, write_card
from trt_build.precision.write import write_fp16, write_int8

LABELS = ["cat", "dog"]


@dataclass(frozen=True)
class Case:
    """A network and the side of its input in pixels."""

    model: ModelName
    make: Callable[[], nn.Module]
    side: int = 64


LITE0_CONTEXT = Case("context", lambda: EfficientNetLite(LITE0, classifier=True))
FIELD_COLORIZER = Case("colorizer", lambda: build_colorizer("field"))
SHIPPED_AND_PAPER = {
    "field context": LITE0_CONTEXT,
    "field colorizer": FIELD_COLORIZER,
    "paper colorizer": Case("colorizer", lambda: build_colorizer("paper")),
    "field recognizer": Case("recognizer", lambda: build_recognizer("field", len(LABELS), 64)),
    "paper recognizer": Case("recognizer", lambda: build_recognizer("paper", len(LABELS), 64)),
}
LARGE_AND_COMPARED = {
    "paper context, shortened": Case("context", lambda: InceptionResNetV2((1, 1, 1)), 107),
    "paper context": Case("context", InceptionResNetV2, 107),
    "larger field context": Case("context", lambda: EfficientNetLite(LITE2, classifier=True)),
    "zhang": Case("colorizer", lambda: build_colorizer("zhang")),
    "iizuka": Case("colorizer", lambda: build_colorizer("iizuka")),
    "field colorizer of classes": Case("colorizer", lambda: build_colorizer("field-classes")),
    "recognizer on VGG-16": Case("recognizer", lambda: FasterRcnnVgg16(len(LABELS), 64, width=8)),
}
# Context network and colorizer are calibrated and judged with one another.
PARTNERS: dict[ModelName, Case] = {"context": FIELD_COLORIZER, "colorizer": LITE0_CONTEXT}


@pytest.mark.parametrize("case", SHIPPED_AND_PAPER.values(), ids=SHIPPED_AND_PAPER)
def test_engines_are_built_in_every_precision(
    case: Case, tensorrt: ModuleType, photographs: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build_all(case, photographs[:2], tmp_path)
    assert "TensorRT told" not in caplog.text  # not one error, of the parser or of the builder


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", LARGE_AND_COMPARED.values(), ids=LARGE_AND_COMPARED)
def test_so_are_those_of_the_larger_networks(
    case: Case, tensorrt: ModuleType, photographs: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build_all(case, photographs[:2], tmp_path)
    assert "TensorRT told" not in caplog.text


def build_all(case: Case, frames: Sequence[Path], folder: Path) -> None:
    """Each engine holds its graph's weights in the graph's type: it is no smaller, and smaller than that of FP32."""
    torch.manual_seed(0)
    for each in filter(None, (PARTNERS.get(case.model), case)):
        write_graph(folder, each)
    graphs: dict[Precision, Path] = {
        "fp32": graph_path(folder, case.model, "fp32"),
        "fp16": write_fp16(folder, case.model, frames).path,
        "int8": write_int8(folder, case.model, frames).path,
    }
    sizes = {}
    for precision, path in graphs.items():
        sizes[precision] = len(build_engine(path, Flags()).engine)
        assert sizes[precision] > weight_bytes(path), precision
    assert sizes["fp16"] < sizes["fp32"] > sizes["int8"]


def write_graph(folder: Path, case: Case) -> None:
    """The FP32 graph, as `export` writes it, and its card."""
    luma = torch.rand(1, 1, case.side, case.side)
    example = (luma, torch.randn(1, 1000)) if case.model == "colorizer" else (luma,)
    path = graph_path(folder, case.model, "fp32")
    write_fp32(case.make().eval(), example, path, inputs=INPUTS[case.model], outputs=OUTPUTS[case.model])
    write_card(folder, GraphCard(case.model, LABELS if case.model == "recognizer" else []))


def weight_bytes(path: Path) -> int:
    """Of a graph's convolutions and products, in the types in which they are stored."""
    graph = onnx.load(path).graph
    return sum(len(numpy_helper.to_array(tensor).tobytes()) for tensor in graph.initializer if len(tensor.dims) > 1)
