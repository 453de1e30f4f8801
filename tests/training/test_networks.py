"""The networks: shapes, layer tables, fixed behaviour at the edges, and that the ImageNet weights arrive."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from training.models.catalogue import COLORIZERS, RECOGNIZERS, build_colorizer, build_recognizer
from training.models.colorizer import Colorizer
from training.models.colorizer_paper import Fusion, PaperColorizer, keep_size
from training.models.efficientnet_lite import LITE0, LITE2, EfficientNetLite, Scaling, imagenet_lite, package_weights
from training.models.fast_rcnn import SecondStage
from training.models.faster_rcnn_vgg16 import FasterRcnnVgg16
from training.models.iizuka import Iizuka
from training.models.recognizer import Recognizer
from training.models.recognizer_paper import PaperRecognizer
from training.models.two_stage import DETECTIONS, PROPOSALS, TwoStage
from training.models.zhang import Zhang


def convolutions(network: nn.Module) -> list[tuple[int, int, int, int]]:
    """(in, out, kernel, stride) of the convolutions, in order."""
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    return [(m.in_channels, m.out_channels, m.kernel_size[0], m.stride[0]) for m in layers]


def connected(network: nn.Module) -> list[tuple[int, int]]:
    """(in, out) of the fully connected layers, in order."""
    return [(m.in_features, m.out_features) for m in network.modules() if isinstance(m, nn.Linear)]


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("scaling", [LITE0, LITE2], ids=lambda s: s.name)
def test_lite_has_features_at_five_strides(scaling: Scaling) -> None:
    with torch.device("meta"):
        features = EfficientNetLite(scaling).features(torch.rand(2, 1, 64, 96))
    assert [tuple(f.shape) for f in features] == [
        (2, channels, 64 // stride, 96 // stride)
        for channels, stride in zip(scaling.feature_channels(), (2, 4, 8, 16, 32), strict=True)
    ]


@pytest.mark.parametrize("scaling", [LITE0, LITE2], ids=lambda s: s.name)
def test_lite_computes_what_its_package_computes(scaling: Scaling) -> None:
    """Against the package's own weights, whose batch normalisation is unfolded, on 1x1 layers: no padding there.

    The whole networks differ on purpose in how stride-2 convolutions pad.
    """
    state = package_weights(scaling)
    network = imagenet_lite(scaling, classifier=True).eval()
    x = torch.randn(1, scaling.feature_channels()[-1], 4, 4)
    scale = state["_bn1.weight"] / torch.sqrt(state["_bn1.running_var"] + 1e-3)
    y = torch.nn.functional.conv2d(x, state["_conv_head.weight"]) - state["_bn1.running_mean"][:, None, None]
    expected = (y * scale[:, None, None] + state["_bn1.bias"][:, None, None]).clamp(0, 6)
    torch.testing.assert_close(network.head(x), expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("scaling", [LITE0, LITE2], ids=lambda s: s.name)
def test_lite_has_a_place_for_every_convolution_of_its_package(scaling: Scaling) -> None:
    with torch.device("meta"):
        network = EfficientNetLite(scaling, classifier=True)
    ours = sum(m.weight.numel() for m in network.modules() if isinstance(m, nn.Conv2d))
    theirs = sum(v.numel() for k, v in package_weights(scaling).items() if "conv" in k)
    assert ours == theirs - 2 * 32 * 9  # the stem has one colour instead of three


def test_frozen_stages_get_no_gradient() -> None:
    network = EfficientNetLite()
    network.features(torch.rand(1, 1, 64, 64), frozen_stages=2)[-1].sum().backward()
    assert network.stem[0].weight.grad is None
    assert network.stages[1][0].layers[0][0].weight.grad is None
    assert network.stages[2][0].layers[0][0].weight.grad is not None


@pytest.mark.parametrize("variant", COLORIZERS)
@pytest.mark.parametrize("size", [(256, 256), (160, 224)])
def test_colorizers_give_ab_at_half_size(variant: str, size: tuple[int, int]) -> None:
    with torch.device("meta"):
        ab = build_colorizer(variant).eval()(torch.rand(2, 1, *size), torch.zeros(2, 1000))
    assert ab.shape == (2, 2, size[0] // 2, size[1] // 2)
    assert ab.dtype == torch.float32


def test_colorizer_paper_is_the_table() -> None:
    with torch.device("meta"):
        network = PaperColorizer()
        features = network.encoder(torch.rand(1, 1, 256, 256))
    channels = [1, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512, 1000]
    ends = {2, 4, 7, 10, 14}
    encoder = [(a, b, 3, 2 if i in ends else 1) for i, (a, b) in enumerate(pairwise(channels), 1)]
    assert convolutions(network.encoder) == encoder
    assert features.shape == (1, 1000, 8, 8)
    decoder = [(1000, 64, 3, 1), (64, 32, 2, 1), (32, 16, 2, 1), (16, 2, 2, 1), (2, 2, 2, 1)]
    assert convolutions(network.decoder) == decoder
    fusion = 2000 * 1000 + 1000  # w over both, stacked, and b
    table = sum(a * b * k * k + b for a, b, k, _ in encoder + decoder)
    assert parameters(network) == table + fusion + 2  # two of the normalisation layer


def test_zhang_is_the_table() -> None:
    with torch.device("meta"):
        network = Zhang()
        logits = network.logits(torch.rand(1, 1, 256, 256), torch.zeros(1, 1000))
    assert logits.shape == (1, 313, 64, 64)
    channels = [1, *[64] * 2, *[128] * 2, *[256] * 3, *[512] * 12]
    body = [m for m in network.blocks.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels) for m in body] == list(pairwise(channels))
    assert [i for i, m in enumerate(body, 1) if m.stride == (2, 2)] == [2, 4, 7]
    assert [i for i, m in enumerate(body, 1) if m.dilation == (2, 2)] == list(range(11, 17))  # conv5 and conv6
    assert convolutions(network.conv8) == [(256, 256, 3, 1)] * 2
    normalised = [m.num_features for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert normalised == [64, 128, 256, 512, 512, 512, 512]
    table = sum(9 * a * b + b for a, b in [*pairwise(channels), (256, 256), (256, 256)])
    transposed, classes = 512 * 256 * 16 + 256, 256 * 313 + 313
    assert parameters(network) == table + transposed + classes + 2 * sum(normalised)


def test_iizuka_is_the_table() -> None:
    with torch.device("meta"):
        network = Iizuka()
    shapes = [(b, s) for _, b, k, s in convolutions(network) if k == 3]
    low = [(64, 2), (128, 1), (128, 2), (256, 1), (256, 2), (512, 1)]
    mid, whole = [(512, 1), (256, 1)], [(512, 2), (512, 1), (512, 2), (512, 1)]
    assert shapes == [*low, *mid, *whole, (128, 1), (64, 1), (64, 1), (32, 1), (2, 1)]
    assert connected(network.vector) == [(7 * 7 * 512, 1024), (1024, 512), (512, 256)]
    assert connected(network.fusion) == [(256, 256)]
    normalised = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert len(normalised) == 12 + 3 + 1 + 4  # all but the output


def test_fusion_is_formula_1() -> None:
    """w [context; features(u, v)] + b, at every position, with the two parts stacked as the formula has them."""
    fusion = Fusion(6, 10, 5)
    features, context = torch.randn(2, 6, 3, 4), torch.randn(2, 10)
    stacked = torch.cat([context[..., None, None].expand(-1, -1, 3, 4), features], dim=1)
    w = torch.cat([fusion.context.weight, fusion.local.weight.flatten(1)], dim=1)
    expected = torch.einsum("oi,bihw->bohw", w, stacked) + fusion.context.bias[:, None, None]
    torch.testing.assert_close(fusion(features, context), expected)


@pytest.mark.parametrize("kernel", [2, 3])
def test_convolutions_keep_the_size_and_pad_an_even_kernel_right_and_bottom(kernel: int) -> None:
    conv = nn.Conv2d(2, 3, kernel, padding=kernel // 2)
    x = torch.randn(1, 2, 5, 6)
    before, after = (kernel - 1) // 2, kernel // 2
    padded = nn.functional.pad(x, (before, after, before, after))
    torch.testing.assert_close(keep_size(conv, x), nn.functional.conv2d(padded, conv.weight, conv.bias))


@pytest.mark.parametrize("variant", ["paper", "field"])
def test_colours_depend_on_the_context(variant: str) -> None:
    network = PaperColorizer(((4, 4), (4, 4), (4, 4), (4, 4), (4, 8))) if variant == "paper" else Colorizer()
    luma = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        ab, other = (network.eval()(luma, torch.randn(1, 1000) * s) for s in (0, 4))
    assert ab.abs().max() <= 110
    assert not torch.equal(ab, other)


def test_field_colorizer_has_switches_for_the_ablation() -> None:
    luma, context = torch.rand(1, 1, 64, 64), torch.randn(1, 1000)
    with torch.no_grad():
        plain = Colorizer(skips=False, context=False).eval()
        assert torch.equal(plain(luma, context), plain(luma, context * 2))
        classifying = Colorizer(head="bins").eval()
        assert classifying(luma, context).shape == (1, 2, 32, 32)
        assert classifying.logits(luma, context).shape == (1, 313, 16, 16)
    whole, less = set(Colorizer().state_dict()), set(plain.state_dict())
    assert {name.split(".")[0] for name in whole - less} == {"skips", "fuse_context"}
    assert less - whole == {"fuse_local.bias"}
    with pytest.raises(TypeError, match="not classes"):
        plain.logits(luma, context)


@pytest.mark.parametrize("variant", RECOGNIZERS)
@pytest.mark.parametrize("size", [128, 320, (608, 800)])
def test_recognizers_have_fixed_shapes(variant: str, size: int | tuple[int, int]) -> None:
    height, width = (size, size) if isinstance(size, int) else size
    with torch.device("meta"):
        network = build_recognizer(variant, 5, size).eval()
        boxes, scores, labels = network(torch.rand(1, 1, height, width))
        features = network.features(torch.rand(1, 1, height, width))
    assert boxes.shape == (1, DETECTIONS, 4) and scores.shape == labels.shape == (1, DETECTIONS)
    assert len(network.anchors) == sum(f.shape[2] * f.shape[3] * 9 for f in features)


@pytest.mark.parametrize("size", [128, (96, 160)])
def test_detections_are_ranked_and_inside_the_input(size: int | tuple[int, int]) -> None:
    network = PaperRecognizer(5, size).eval()
    with torch.no_grad():
        boxes, scores, labels = network(torch.rand(1, 1, network.height, network.width))
    assert (scores.diff() <= 0).all() and scores.max() > 0
    assert boxes.min() >= 0 and boxes[..., 0::2].max() <= network.width and boxes[..., 1::2].max() <= network.height
    assert labels.min() >= 0 and labels.max() < 5


@pytest.mark.parametrize("make", [Recognizer, PaperRecognizer])
def test_recognizer_may_see_nothing(make: type[Recognizer] | type[PaperRecognizer]) -> None:
    network = make(5, 128).eval()
    torch.nn.init.zeros_(network.class_logits.weight)
    with torch.no_grad():
        network.class_logits.bias.copy_(torch.tensor([0.0, 0, 0, 0, 0, 20]))
        _, scores, _ = network(torch.rand(1, 1, 128, 128))
    assert scores.max() == 0


def test_proposals_are_the_best_survivors_first() -> None:
    network = PaperRecognizer(3, 320).eval()
    with torch.no_grad():
        rpn = network.rpn(network.features(torch.rand(1, 1, 320, 320)))
        rpn.objectness.zero_()
        rpn.deltas.zero_()
        rpn.objectness[0, 7] = 5.0
        proposals = network.proposals(rpn)
    assert proposals.shape == (1, PROPOSALS, 4)
    assert torch.equal(proposals[0, 0], network.anchors[7].clamp(0, 320))


@pytest.mark.parametrize(("height", "width"), [(320, 320), (608, 800)])
def test_anchors_are_centred_and_scaled(height: int, width: int) -> None:
    network: TwoStage = PaperRecognizer(2, (height, width))
    anchors = network.anchors
    assert anchors.shape == (height // 8 * (width // 8) * 9, 4)
    torch.testing.assert_close((anchors[:9, :2] + anchors[:9, 2:]) / 2, torch.full((9, 2), 4.0))
    torch.testing.assert_close((anchors[9, :2] + anchors[9, 2:]) / 2, torch.tensor([12.0, 4.0]))  # along x first
    size = anchors[0:9, 2:] - anchors[0:9, :2]
    scale = max(height, width) / 320
    torch.testing.assert_close(size.prod(dim=1).sqrt(), torch.tensor([40.0, 100, 220]).repeat_interleave(3) * scale)
    torch.testing.assert_close(size[:3, 1] / size[:3, 0], torch.tensor([0.5, 1.0, 2.0]))


def test_recognizer_paper_is_the_table() -> None:
    with torch.device("meta"):
        network = PaperRecognizer(22)
    backbone = [(1, 32, 3, 1), (32, 64, 2, 1), (64, 64, 2, 1)]
    rpn = [(64, 256, 3, 1), (256, 9, 1, 1), (256, 36, 1, 1)]
    assert sorted(convolutions(network)) == sorted(backbone + rpn)
    regions = [(64 * 49, 512), (512, 256), (256, 128), (128, 23), (128, 88)]
    assert sorted(connected(network)) == sorted(regions)
    table = sum(a * b * k * k + b for a, b, k, _ in backbone + rpn) + sum(a * b + b for a, b in regions)
    assert parameters(network) == table


def test_vgg16_is_the_table() -> None:
    with torch.device("meta"):
        network = FasterRcnnVgg16(22)
        (features,) = network.features(torch.rand(1, 1, 608, 800))
    channels = [1, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    assert convolutions(network.backbone) == [(a, b, 3, 1) for a, b in pairwise(channels)]
    assert features.shape == (1, 512, 38, 50)
    regions = [(512 * 49, 4096), (4096, 4096), (4096, 23), (4096, 88)]
    assert sorted(connected(network)) == sorted(regions)
    backbone = 14_714_688 - 2 * 64 * 9  # VGG-16's convolutions, with one colour instead of three
    rpn = 512 * 512 * 9 + 512 + 512 * 45 + 45
    assert parameters(network) == backbone + rpn + sum(a * b + b for a, b in regions)


def test_vgg16_has_the_anchors_of_faster_rcnn() -> None:
    network = FasterRcnnVgg16(1, (608, 800), width=1)
    size = network.anchors[:9, 2:] - network.anchors[:9, :2]
    torch.testing.assert_close(size.prod(dim=1).sqrt(), torch.tensor([128.0, 256, 512]).repeat_interleave(3))
    assert len(network.anchors) == 38 * 50 * 9


def test_fast_rcnn_is_the_second_stage_of_the_same_detector() -> None:
    network = FasterRcnnVgg16(3, 96, width=2).eval()
    luma = torch.rand(1, 1, 96, 96)
    with torch.no_grad():
        features = network.features(luma)
        proposals = network.proposals(network.rpn(features))
        whole: tuple[Tensor, ...] = network(luma)
        for got, expected in zip(SecondStage(network)(features[0], proposals), whole, strict=True):
            assert torch.equal(got, expected)
