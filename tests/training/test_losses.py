"""What the losses punish, what they must not, and that every network learns by them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from training.data.detection import Target
from training.losses import COLOUR_LOSSES, ColourLosses, RecognizerLosses
from training.losses.colour import class_loss, mse, smooth_l1, weighted
from training.losses.detection import _roi_losses, _rpn_losses, _sample_rois
from training.models.colorizer import Colorizer
from training.models.colorizer_paper import PaperColorizer
from training.models.colour_bins import bins, colour_prior, soft_encode
from training.models.efficientnet_lite import EfficientNetLite
from training.models.faster_rcnn_vgg16 import FasterRcnnVgg16
from training.models.iizuka import Iizuka
from training.models.interfaces import ColourNetwork, ContextNetwork
from training.models.recognizer import Recognizer
from training.models.recognizer_paper import PaperRecognizer
from training.models.two_stage import TwoStage
from training.models.zhang import Zhang

BACKGROUND_ROI = torch.tensor([[200.0, 200, 240, 240]])


def target(weight: float = 1.0, labelled: tuple[bool, ...] = (True, False, True)) -> Target:
    return Target(
        boxes=torch.tensor([[40.0, 40, 120, 140]]),
        labels=torch.tensor([0]),
        weights=torch.tensor([weight]),
        labelled=torch.tensor(labelled),
    )


def nothing() -> Target:
    return Target(
        torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), torch.zeros(0), torch.ones(3, dtype=torch.bool)
    )


def background_loss(logits: list[float]) -> float:
    losses = _roi_losses(torch.tensor([logits]), torch.zeros(1, 4), BACKGROUND_ROI, torch.tensor([-1]), target())
    return losses["roi_classes"].item()


def test_finding_an_unlabelled_class_in_the_background_costs_less_than_a_labelled_one() -> None:
    nothing = background_loss([0.0, 0.0, 0.0, 5.0])
    unlabelled, labelled = background_loss([0.0, 5.0, 0.0, 5.0]), background_loss([0.0, 0.0, 5.0, 5.0])
    assert 0 < unlabelled - nothing < 0.4 * (labelled - nothing)


def test_an_untrusted_box_is_neither_object_nor_background() -> None:
    near = torch.tensor([[42.0, 41, 121, 139]])
    _, match = _sample_rois(near, target(weight=0.0))
    assert (match == -2).all()
    _, match = _sample_rois(near, target(weight=1.0))
    assert (match == 0).any()


def test_rpn_learns_from_trusted_boxes_only() -> None:
    anchors = PaperRecognizer(3, 320).anchors
    deltas = torch.zeros(len(anchors), 4)
    sure = torch.full((len(anchors),), -20.0)  # "no object anywhere"
    assert _rpn_losses(anchors, sure, deltas, target(1.0))["rpn_objectness"] > 0.1
    assert _rpn_losses(anchors, sure, deltas, target(0.0))["rpn_objectness"] < 1e-3


def test_only_the_boxes_of_the_right_class_are_refined() -> None:
    deltas = torch.zeros(1, 12)
    rois = torch.tensor([[40.0, 40, 120, 140]])
    match = torch.tensor([0])
    deltas[0, 4:] = 9.0  # of the other two classes
    assert _roi_losses(torch.zeros(1, 4), deltas, rois, match, target())["roi_boxes"] == 0
    deltas[0, 0] = 9.0
    assert _roi_losses(torch.zeros(1, 4), deltas, rois, match, target())["roi_boxes"] > 0


def test_an_image_without_objects_is_fine() -> None:
    losses = RecognizerLosses(PaperRecognizer(3, 64))(torch.rand(1, 1, 64, 64), [nothing()])
    total = sum(losses.values())
    assert isinstance(total, Tensor) and torch.isfinite(total)
    total.backward()


def test_recognizer_losses_are_means_over_the_images() -> None:
    network = PaperRecognizer(3, 160).eval()  # without dropout
    luma = torch.rand(2, 1, 160, 160)
    with torch.no_grad():
        each = [_seeded(lambda i=i: RecognizerLosses(network)(luma[i : i + 1], [nothing()])) for i in range(2)]
        both = RecognizerLosses(network)(luma, [nothing(), nothing()])
    # The sampled anchors differ, and an untrained network is equally unsure of all of them.
    mean = (each[0]["rpn_objectness"] + each[1]["rpn_objectness"]) / 2
    assert both["rpn_objectness"].item() == pytest.approx(mean.item(), rel=0.02)


def _seeded(losses: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return losses()


def context_network() -> ContextNetwork:
    return EfficientNetLite(classifier=True)


def prior() -> Tensor:
    return colour_prior([torch.randn(2, 2, 16, 16) * 20])


@pytest.mark.parametrize("loss", [mse, smooth_l1, weighted])
def test_regression_losses_are_zero_for_the_truth(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    truth = torch.randn(2, 2, 4, 4) * 30
    assert loss(truth, truth) == 0
    assert 0 < loss(truth + 5, truth) < loss(truth + 10, truth)


def test_the_weighted_loss_weighs_vivid_colours_more() -> None:
    grey, vivid = torch.zeros(1, 2, 4, 4), torch.full((1, 2, 4, 4), 50.0)
    assert weighted(vivid - 10, vivid) > 2 * weighted(grey - 10, grey)
    assert smooth_l1(vivid - 10, vivid) == weighted(grey - 10, grey)


def test_the_class_loss_wants_the_right_bin_and_the_rare_ones_more() -> None:
    centres, ones = bins(), torch.ones(313)
    truth = centres[40].view(1, 2, 1, 1).expand(1, 2, 4, 4)
    right, wrong = torch.zeros(1, 313, 2, 2), torch.zeros(1, 313, 2, 2)
    right[:, 40], wrong[:, 200] = 5.0, 5.0
    assert class_loss(right, truth, centres, ones) < class_loss(wrong, truth, centres, ones)
    heavy = ones.clone()
    heavy[40] = 3.0
    assert class_loss(wrong, truth, centres, heavy) == pytest.approx(
        3 * class_loss(wrong, truth, centres, ones).item()
    )


def test_the_class_loss_is_least_at_the_soft_encoding() -> None:
    truth = torch.tensor([3.0, -7.0]).view(1, 2, 1, 1).expand(1, 2, 2, 2)
    index, share = soft_encode(truth[..., :1, :1], bins())
    best = torch.full((1, 313, 1, 1), -30.0).scatter_(1, index, share.log()).requires_grad_()
    class_loss(best, truth, bins(), torch.ones(313)).backward()
    assert best.grad is not None and best.grad.abs().max() < 1e-5


def test_bad_losses_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown loss 'l2': mse, smooth_l1, weighted, classes"):
        ColourLosses(Colorizer(), context_network(), loss="l2")
    with pytest.raises(ValueError, match="needs the prior"):
        ColourLosses(Zhang(2), context_network())


def test_the_context_network_takes_no_part_in_training() -> None:
    losses = ColourLosses(Colorizer(), context_network()).train()
    assert losses.network.training and not losses.context_network.training
    assert not any(p.requires_grad for p in losses.context_network.parameters())


def test_colour_losses_of_shards_average_to_that_of_the_whole() -> None:
    network = PaperColorizer(((2, 2), (2, 2), (2, 2), (2, 2), (2, 4))).eval()
    losses = ColourLosses(network, context_network(), loss="mse").eval()
    batch = torch.rand(4, 1, 64, 64), torch.rand(4, 1, 32, 32), torch.randn(4, 2, 32, 32) * 30
    with torch.no_grad():
        whole = losses(*batch)["colour"]
        shards = [losses(*(part[i : i + 2] for part in batch))["colour"] for i in (0, 2)]
    torch.testing.assert_close(torch.stack(shards).mean(), whole)


TINY_COLORIZERS: dict[str, Callable[[], ColourNetwork]] = {
    "paper": lambda: PaperColorizer(((8, 8), (8, 8), (8, 8), (8, 8), (8, 16))),
    "zhang": lambda: Zhang(4),
    "iizuka": lambda: Iizuka(8, global_px=32),
    "field": Colorizer,
    "field, bins": lambda: Colorizer(skips=False, context=False, head="bins"),
}
TINY_RECOGNIZERS: dict[str, Callable[[], TwoStage]] = {
    "paper": lambda: PaperRecognizer(3, 160),
    "field": lambda: Recognizer(3, 160),
    "vgg16": lambda: FasterRcnnVgg16(3, 160, width=4),
}


def losses_over(steps: int, losses: nn.Module, batch: tuple[object, ...], learning_rate: float) -> list[float]:
    """Train on one batch, with the same chance in every step."""
    optimizer = torch.optim.Adam([p for p in losses.parameters() if p.requires_grad], learning_rate)
    values = []
    for _ in range(steps):
        torch.manual_seed(0)
        total = torch.stack(list(losses(*batch).values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        values.append(total.item())
    return values


@pytest.mark.parametrize("name", TINY_COLORIZERS)
def test_every_colorizer_learns(name: str) -> None:
    torch.manual_seed(0)
    losses = ColourLosses(TINY_COLORIZERS[name](), context_network(), prior=prior()).train()
    batch = torch.rand(2, 1, 64, 64), torch.rand(2, 1, 32, 32), torch.full((2, 2, 32, 32), 40.0)
    values = losses_over(6, losses, batch, 3e-4 if name == "field" else 3e-3)
    assert values[-1] < 0.97 * values[0]


@pytest.mark.parametrize("loss", COLOUR_LOSSES)
def test_every_loss_may_be_asked_for(loss: str) -> None:
    losses = ColourLosses(Zhang(2), context_network(), loss=loss, prior=prior())
    batch = torch.rand(1, 1, 32, 32), torch.rand(1, 1, 32, 32), torch.zeros(1, 2, 16, 16)
    parts = losses(*batch)
    assert list(parts) == ["colour"] and parts["colour"].requires_grad


@pytest.mark.parametrize("name", TINY_RECOGNIZERS)
def test_every_recognizer_learns(name: str) -> None:
    torch.manual_seed(0)
    losses = RecognizerLosses(TINY_RECOGNIZERS[name]()).train()
    values = losses_over(6, losses, (torch.rand(1, 1, 160, 160), [target()]), 1e-3)
    assert values[-1] < 0.9 * values[0]


def test_every_parameter_gets_a_gradient() -> None:
    """Data-parallel training waits for all of them, also when there is no object."""
    network = PaperRecognizer(3, 64)
    sum(RecognizerLosses(network)(torch.rand(1, 1, 64, 64), [nothing()]).values()).backward()
    assert all(p.grad is not None for p in network.parameters())


def test_losses_are_float32_under_autocast() -> None:
    recognizer = RecognizerLosses(PaperRecognizer(3, 160))
    colorizer = ColourLosses(PaperColorizer(((2, 2), (2, 2), (2, 2), (2, 2), (2, 4))), context_network())
    zhang = ColourLosses(Zhang(2), context_network(), prior=prior())
    colours = torch.rand(2, 1, 64, 64), torch.rand(2, 1, 32, 32), torch.zeros(2, 2, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        losses = recognizer(torch.rand(1, 1, 160, 160), [target()]) | colorizer(*colours)
        losses["classes"] = zhang(*colours)["colour"]
    assert all(loss.dtype == torch.float32 and torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
