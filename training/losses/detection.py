"""The losses of the recognizers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.data.detection import Target
from training.models import boxes as box_ops
from training.models.two_stage import REFINE_WEIGHTS, Rpn, TwoStage

RPN_SAMPLES, RPN_POSITIVE, RPN_NEGATIVE = 128, 0.6, 0.3
UNLABELLED_WEIGHT = 0.25  # of a class's probability where it is not known to be absent
ROI_SAMPLES, ROI_POSITIVE_SHARE, ROI_POSITIVE = 96, 0.33, 0.5


class RecognizerLosses(nn.Module):
    """The four losses of Faster R-CNN: formula (2) and smooth L1, for the RPN and for the RoI heads.

    Args:
        network: in training mode; the first `frozen_stages` stages of its backbone get no gradient.
    """

    def __init__(self, network: TwoStage, frozen_stages: int = 0) -> None:
        super().__init__()
        self.network, self.frozen_stages = network, frozen_stages

    def forward(self, luma: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Losses float32[], each a mean over the batch, of luma [B, 1, H, W] and what is known of its B images.

        Targets are on the network's device. Anchors and regions are sampled with torch's global generator.
        """
        features = self.network.features(luma, frozen_stages=self.frozen_stages)
        rpn = self.network.rpn(features)
        rpn = Rpn(rpn.objectness.float(), rpn.deltas.float())  # under autocast they have less
        proposals = self.network.proposals(rpn)
        samples = [_sample_rois(boxes, target) for boxes, target in zip(proposals, targets, strict=True)]
        logits, deltas = self.network.roi_heads(features, torch.stack([s[0] for s in samples]))
        logits, deltas = logits.float(), deltas.float()
        totals: dict[str, Any] = {}
        for i, target in enumerate(targets):
            parts = _rpn_losses(self.network.anchors, rpn.objectness[i], rpn.deltas[i], target)
            parts |= _roi_losses(logits[i], deltas[i], *samples[i], target)
            for name, value in parts.items():
                totals[name] = totals.get(name, 0.0) + value / len(targets)
        return totals


def _match(boxes: Tensor, target: Target) -> tuple[Tensor, Tensor, Tensor]:
    """For each box [N, 4]: best IoU with a trusted object, that object's index, best IoU with an ignored one."""
    overlaps = box_ops.iou_matrix(boxes, target.boxes)
    trusted = target.weights > 0
    none = boxes.new_zeros(len(boxes))
    if not len(target.boxes):
        return none, none.long(), none
    best, index = (overlaps * trusted).max(dim=1)
    return best, index, (overlaps * ~trusted).max(dim=1).values


def _rpn_losses(anchors: Tensor, objectness: Tensor, deltas: Tensor, target: Target) -> dict[str, Tensor]:
    best, index, ignored = _match(anchors, target)
    positive = best >= RPN_POSITIVE
    if len(target.boxes):  # every trusted object teaches at least its best anchors
        overlaps = box_ops.iou_matrix(anchors, target.boxes)
        top = overlaps.max(dim=0).values
        positive |= ((overlaps >= top - 1e-4) & (target.weights > 0) & (top > 0.1)).any(dim=1)
    negative = (best < RPN_NEGATIVE) & (ignored < RPN_NEGATIVE) & ~positive
    chosen_p = _choose(positive, RPN_SAMPLES // 2)
    chosen_n = _choose(negative, RPN_SAMPLES - len(chosen_p))
    chosen = torch.cat([chosen_p, chosen_n])
    truth = torch.cat([deltas.new_ones(len(chosen_p)), deltas.new_zeros(len(chosen_n))])
    weights = torch.ones_like(truth)
    if len(chosen_p):
        weights[: len(chosen_p)] = target.weights[index[chosen_p]].clamp(min=0.1)
    bce = F.binary_cross_entropy_with_logits(objectness[chosen], truth, weights, reduction="sum")
    losses = {"rpn_objectness": bce / max(len(chosen), 1), "rpn_boxes": deltas.sum() * 0}
    if len(chosen_p):
        wanted = box_ops.encode(target.boxes[index[chosen_p]], anchors[chosen_p])
        error = F.smooth_l1_loss(deltas[chosen_p], wanted, beta=1 / 9, reduction="sum")
        losses["rpn_boxes"] = error / RPN_SAMPLES * 2
    return losses


def _sample_rois(proposals: Tensor, target: Target) -> tuple[Tensor, Tensor]:
    """ROI_SAMPLES boxes to learn from and, for each, the object it stands for (-1 background, -2 ignore)."""
    real = target.weights > 0
    candidates = torch.cat([proposals, target.boxes[real], _jittered(target.boxes[real])])
    best, index, ignored = _match(candidates, target)
    positive = best >= ROI_POSITIVE
    negative = ~positive & (ignored < ROI_POSITIVE)
    chosen_p = _choose(positive, int(ROI_SAMPLES * ROI_POSITIVE_SHARE))
    chosen_n = _choose(negative, ROI_SAMPLES - len(chosen_p))
    chosen = torch.cat([chosen_p, chosen_n])
    match = torch.cat([index[chosen_p], torch.full_like(chosen_n, -1)])
    missing = ROI_SAMPLES - len(chosen)
    if missing:  # too few places that may be learnt from: fill up with ignored ones
        chosen = torch.cat([chosen, chosen.new_zeros(missing)])
        match = torch.cat([match, match.new_full((missing,), -2)])
    return candidates[chosen], match


def _jittered(boxes: Tensor) -> Tensor:
    """Copies of the boxes [N, 4], each side moved by up to a sixth: early proposals are too poor to learn from."""
    size = (boxes[:, 2:] - boxes[:, :2]).repeat(3, 2)
    return boxes.repeat(3, 1) + (torch.rand_like(size) - 0.5) / 3 * size


def _roi_losses(logits: Tensor, deltas: Tensor, rois: Tensor, match: Tensor, target: Target) -> dict[str, Tensor]:
    background = logits.shape[-1] - 1
    positive, negative = match >= 0, match == -1
    # Where nothing is boxed, the classes that are fully boxed in this image are known to be absent; the others only
    # probably are, so finding one of them costs little. (At no cost they would be found everywhere.)
    unknown = torch.cat([~target.labelled, target.labelled.new_zeros(1)])
    logits = logits + (negative[:, None] & unknown) * math.log(UNLABELLED_WEIGHT)
    truth = torch.full_like(match, background)
    weights = negative.float()
    losses = {"roi_boxes": deltas.sum() * 0}
    if positive.any():
        of = match[positive]
        truth[positive] = target.labels[of]
        weights[positive] = target.weights[of]
        wanted = box_ops.encode(target.boxes[of], rois[positive]) * deltas.new_tensor(REFINE_WEIGHTS)
        refined = _of_class(deltas[positive], target.labels[of])
        losses["roi_boxes"] = F.smooth_l1_loss(refined, wanted, reduction="sum") / ROI_SAMPLES
    cross_entropy = F.cross_entropy(logits, truth, reduction="none")
    losses["roi_classes"] = (cross_entropy * weights).sum() / weights.sum().clamp(min=1.0)
    return losses


def _of_class(deltas: Tensor, labels: Tensor) -> Tensor:
    """[N, 4] of [N, 4 * K]: those of each region's class; there may be one refinement for all."""
    per_class = deltas.reshape(len(deltas), -1, 4)
    return per_class[torch.arange(len(deltas), device=deltas.device), labels if per_class.shape[1] > 1 else 0]


def _choose(mask: Tensor, most: int) -> Tensor:
    """Up to `most` random indices where the mask holds."""
    found = mask.nonzero()[:, 0]
    return found[torch.randperm(len(found), device=found.device)[:most]]
