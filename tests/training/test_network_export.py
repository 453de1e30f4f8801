"""Every network becomes an ONNX graph of opset 17 that computes the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from training.models.colorizer import Colorizer
from training.models.colorizer_paper import PaperColorizer
from training.models.efficientnet_lite import LITE2, EfficientNetLite
from training.models.faster_rcnn_vgg16 import FasterRcnnVgg16
from training.models.iizuka import Iizuka
from training.models.inception_resnet_v2 import InceptionResNetV2
from training.models.recognizer import Recognizer
from training.models.recognizer_paper import PaperRecognizer
from training.models.zhang import Zhang
from training.onnx_graphs import OPSET, write_fp32
from trt_build.checks.differences import of_detections

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "colorizer, paper": lambda: PaperColorizer(((4, 4), (4, 4), (4, 4), (4, 4), (4, 8))),
    "colorizer, field": Colorizer,
    "colorizer, field, bins": lambda: Colorizer(head="bins", skips=False, context=False),
    "colorizer, zhang": lambda: Zhang(4),
    "colorizer, iizuka": lambda: Iizuka(4, global_px=32),
    "context, lite2": lambda: EfficientNetLite(LITE2, classifier=True),
    "context, inception": lambda: InceptionResNetV2((1, 1, 1)),
    "recognizer, paper": lambda: PaperRecognizer(3, (96, 128)),
    "recognizer, field": lambda: Recognizer(3, (96, 128)),
    "recognizer, vgg16": lambda: FasterRcnnVgg16(3, (96, 128), width=2),
}
SIDES = {"context, inception": (107, 107), "context, lite2": (68, 68)}


def example(name: str) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    luma = torch.rand(1, 1, *SIDES.get(name, (96, 128)), generator=generator)
    if name.startswith("colorizer"):
        return luma, torch.randn(1, 1000, generator=generator)
    return (luma,)


@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_runtime_agrees(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, inputs = NETWORKS[name]().eval(), example(name)
    detects = name.startswith(("recognizer", "fast"))
    outputs = ["boxes", "scores", "labels"] if detects else ["output"]
    path = tmp_path / "network.onnx"
    write_fp32(network, inputs, path, inputs=["luma", "other"][: len(inputs)], outputs=outputs)

    graph = onnx.load(path)
    assert [o.version for o in graph.opset_import if o.domain in ("", "ai.onnx")] == [OPSET] == [17]
    onnx.checker.check_model(graph, full_check=True)
    shapes = [[d.dim_value for d in o.type.tensor_type.shape.dim] for o in graph.graph.output]
    with torch.no_grad():
        answer = network(*inputs)
    expected = [t.numpy() for t in (answer if isinstance(answer, tuple) else (answer,))]
    assert shapes == [list(e.shape) for e in expected]

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    feed = {i.name: value.numpy() for i, value in zip(session.get_inputs(), inputs, strict=True)}
    got = session.run(None, feed)
    if detects:
        assert expected[1].max() > 0
        assert of_detections(expected, got, 128) < 1e-3
    else:
        np.testing.assert_allclose(got[0], expected[0], atol=1e-3 * max(1.0, float(np.abs(expected[0]).max())))
