"""The recognizer, field variant: a light Faster R-CNN on EfficientNet-Lite0.

Ren et al., "Faster R-CNN", 2015, lightened in the spirit of the paper (its three-convolution network is the `paper`
variant): one feature map at stride 16, in which the backbone's stride-32 features are added; an RPN with
5 scales x 3 ratios; NMS at 0.7 keeps the top 300 proposals; RoIAlign 7x7; two fully connected layers; class scores
and one box refinement. Suppression is matrix steps, so the whole network is one graph of fixed shapes, and no
detection at all is an answer like any other.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.models import boxes as box_ops
from training.models.efficientnet_lite import FEATURE_CHANNELS, EfficientNetLite0, imagenet_lite0

STRIDE = 16
SCALES = (20.0, 40.0, 80.0, 150.0, 260.0)  # square root of an anchor's area, in pixels of a 320-pixel input
RATIOS = (0.5, 1.0, 2.0)
PROPOSALS_BEFORE_NMS = 1000
PROPOSALS = 300
PROPOSAL_NMS = 0.7
DETECTIONS = 100
DETECTION_NMS = 0.5
SCORE_FLOOR = 0.05
REFINE_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # deltas of the second stage are learnt in these units


@dataclass
class Rpn:
    """Raw output of the region proposal network: objectness logits [B, A], deltas [B, A, 4]."""

    objectness: Tensor
    deltas: Tensor


class Recognizer(nn.Module):
    """Luma float32[B, 1, S, S] in 0..1, letterboxed, to boxes, scores and labels."""

    anchors: Tensor

    def __init__(
        self, labels: int, input_size: int = 320, width: int = 96, backbone: EfficientNetLite0 | None = None
    ) -> None:
        super().__init__()
        self.labels, self.input_size = labels, input_size
        self.backbone = backbone or EfficientNetLite0()
        self.lateral16 = nn.Conv2d(FEATURE_CHANNELS[3], width, 1)
        self.lateral32 = nn.Conv2d(FEATURE_CHANNELS[4], width, 1)
        self.smooth = nn.Conv2d(width, width, 3, padding=1)
        anchors_per_cell = len(SCALES) * len(RATIOS)
        self.rpn_conv = nn.Conv2d(width, width, 3, padding=1)
        self.rpn_objectness = nn.Conv2d(width, anchors_per_cell, 1)
        self.rpn_deltas = nn.Conv2d(width, anchors_per_cell * 4, 1)
        self.fc1 = nn.Linear(width * 49, 256)
        self.fc2 = nn.Linear(256, 256)
        self.dropout = nn.Dropout(0.2)
        self.class_logits = nn.Linear(256, labels + 1)  # the last one is background
        self.refine = nn.Linear(256, 4)
        self.register_buffer("anchors", make_anchors(input_size), persistent=False)

    def features(self, luma: Tensor, *, frozen_stages: int = 0) -> Tensor:
        """The feature map [B, width, S / 16, S / 16]."""
        *_, c4, c5 = self.backbone.features(luma, frozen_stages=frozen_stages)
        top = F.interpolate(self.lateral32(c5), scale_factor=2.0, mode="nearest")
        return F.relu(self.smooth(F.relu(self.lateral16(c4) + top)))

    def rpn(self, features: Tensor) -> Rpn:
        """Objectness and deltas of every anchor, in the anchors' order (row, column, anchor of the cell)."""
        x = F.relu(self.rpn_conv(features))
        objectness = self.rpn_objectness(x).permute(0, 2, 3, 1).flatten(1)
        deltas = self.rpn_deltas(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4)
        return Rpn(objectness, deltas)

    @torch.no_grad()
    def proposals(self, rpn: Rpn) -> Tensor:
        """The top 300 proposals [B, 300, 4] after suppression, best first, clipped to the input."""
        scores, index = rpn.objectness.topk(min(PROPOSALS_BEFORE_NMS, len(self.anchors)), dim=1)
        deltas = rpn.deltas.gather(1, index[..., None].expand(-1, -1, 4))
        boxes = box_ops.decode(deltas, self.anchors[index]).clamp(0, self.input_size)
        alive = box_ops.suppress(boxes, PROPOSAL_NMS)
        ranked = torch.sigmoid(scores) + alive  # survivors first, each group by score
        _, best = ranked.topk(PROPOSALS, dim=1)
        return boxes.gather(1, best[..., None].expand(-1, -1, 4))

    def roi_heads(self, features: Tensor, proposals: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits [B, N, labels + 1] and refinement deltas [B, N, 4] of proposals [B, N, 4]."""
        pooled = box_ops.roi_align(features, proposals, STRIDE)
        x = pooled.permute(0, 2, 1, 3).flatten(2)
        x = self.dropout(F.relu(self.fc1(x)))
        x = self.dropout(F.relu(self.fc2(x)))
        return self.class_logits(x), self.refine(x)

    def refined(self, deltas: Tensor, proposals: Tensor) -> Tensor:
        """Boxes [B, N, 4] after the second stage."""
        weights = torch.tensor(REFINE_WEIGHTS, device=deltas.device)
        return box_ops.decode(deltas / weights, proposals).clamp(0, self.input_size)

    def forward(self, luma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The whole network.

        Returns:
            boxes float32[B, 100, 4] xyxy in input pixels; scores float32[B, 100], descending, 0 in unused slots;
            labels int64[B, 100].
        """
        features = self.features(luma)
        proposals = self.proposals(self.rpn(features))
        logits, deltas = self.roi_heads(features, proposals)
        return self.detections(logits, self.refined(deltas, proposals))

    def detections(self, logits: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Per-class suppression of [B, N, labels + 1] scores over [B, N, 4] boxes; see `forward`."""
        scores = F.softmax(logits, dim=-1)[..., : self.labels].flatten(1)
        scores, index = scores.topk(PROPOSALS, dim=1)
        labels = index % self.labels
        candidates = boxes.gather(1, (index // self.labels)[..., None].expand(-1, -1, 4))
        apart = (labels * (2 * self.input_size)).to(boxes.dtype)[..., None]  # classes never overlap one another
        alive = box_ops.suppress(candidates + apart, DETECTION_NMS)
        scores = scores * alive * (scores > SCORE_FLOOR).to(scores.dtype)
        scores, best = scores.topk(DETECTIONS, dim=1)
        return candidates.gather(1, best[..., None].expand(-1, -1, 4)), scores, labels.gather(1, best)


def make_anchors(input_size: int) -> Tensor:
    """Anchors float32[(S/16)^2 * 15, 4] xyxy, centred on the cells of the feature map."""
    cells = input_size // STRIDE
    centres = (torch.arange(cells, dtype=torch.float32) + 0.5) * STRIDE
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    sizes = torch.tensor([(s / r**0.5, s * r**0.5) for s in SCALES for r in RATIOS]) * (input_size / 320)
    centre = torch.stack([x, y], dim=-1).reshape(-1, 1, 2)
    return torch.cat([centre - sizes / 2, centre + sizes / 2], dim=-1).reshape(-1, 4)


def field_recognizer(labels: int, input_size: int = 320) -> Recognizer:
    """A recognizer that starts from ImageNet weights."""
    return Recognizer(labels, input_size, backbone=imagenet_lite0())
