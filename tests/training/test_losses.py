"""What the losses punish, and what they must not."""

from __future__ import annotations

import torch

from training.data.detection import Target
from training.losses import _roi_losses, _rpn_losses, _sample_rois, colour_loss, recognizer_losses
from training.models.recognizer import Recognizer, make_anchors

BACKGROUND_ROI = torch.tensor([[200.0, 200, 240, 240]])


def target(weight: float = 1.0, labelled: tuple[bool, ...] = (True, False, True)) -> Target:
    return Target(
        boxes=torch.tensor([[40.0, 40, 120, 140]]),
        labels=torch.tensor([0]),
        weights=torch.tensor([weight]),
        labelled=torch.tensor(labelled),
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
    anchors = make_anchors(320)
    deltas = torch.zeros(len(anchors), 4)
    sure = torch.full((len(anchors),), -20.0)  # "no object anywhere"
    assert _rpn_losses(anchors, sure, deltas, target(1.0))["rpn_objectness"] > 0.1
    assert _rpn_losses(anchors, sure, deltas, target(0.0))["rpn_objectness"] < 1e-3


def test_an_image_without_objects_is_fine() -> None:
    network = Recognizer(3, 128)
    nothing = Target(
        torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), torch.zeros(0), torch.ones(3, dtype=torch.bool)
    )
    losses = recognizer_losses(network, torch.rand(1, 1, 128, 128), [nothing])
    total = sum(losses.values())
    assert torch.isfinite(total)
    total.backward()


def test_colour_loss_is_zero_for_the_truth_and_weighs_vivid_colours_more() -> None:
    grey, vivid = torch.zeros(1, 2, 4, 4), torch.full((1, 2, 4, 4), 50.0)
    assert colour_loss(vivid, vivid) == 0
    assert colour_loss(vivid - 10, vivid) > 2 * colour_loss(grey - 10, grey)
