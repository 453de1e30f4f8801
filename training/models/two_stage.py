"""What every two-stage detector here shares: anchors, region proposal network, proposals, detections.

Ren et al., "Faster R-CNN", 2015. A network that builds on it says how features are made (`features`) and what is
made of each pooled region (`region_features`). Suppression is matrix steps, so the whole network is one graph of
fixed shapes, and no detection at all is an answer like any other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.models import boxes as box_ops

RATIOS = (0.5, 1.0, 2.0)
PROPOSALS_BEFORE_NMS = 1000
PROPOSALS = 300
PROPOSAL_NMS = 0.7
DETECTIONS = 100
DETECTION_NMS = 0.5
SCORE_FLOOR = 0.05
REFINE_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # deltas of the second stage are learnt in these units
POOLED = 7  # RoIAlign's bins a side

InputSize = int | tuple[int, int]  # a side, or (height, width): multiples of 32


@dataclass(frozen=True)
class Level:
    """A feature map that proposes regions: its stride, and the anchors' scales (square root of the area).

    Scales are in pixels of an input whose long side is 320 and grow with the input.
    """

    stride: int
    scales: tuple[float, ...]


@dataclass
class Rpn:
    """Raw output of the region proposal network: objectness logits [B, A], deltas [B, A, 4]."""

    objectness: Tensor
    deltas: Tensor


class TwoStage(nn.Module, ABC):
    """Luma float32[B, 1, H, W] in 0..1, letterboxed, to boxes, scores and labels.

    Args:
        labels: number of classes, without the background.
        levels: the maps of `features`, in their order; regions are pooled from the first.
        channels: of each feature map; rpn_channels: of the proposal network's convolution.
        region_channels: of `region_features`.
        class_boxes: one box refinement for each class, as Fast R-CNN has, or one for all.
    """

    anchors: Tensor

    def __init__(
        self,
        labels: int,
        input_size: InputSize,
        levels: Sequence[Level],
        *,
        channels: int,
        rpn_channels: int,
        region_channels: int,
        class_boxes: bool,
    ) -> None:
        super().__init__()
        self.labels, self.levels, self.class_boxes = labels, tuple(levels), class_boxes
        self.height, self.width = (input_size, input_size) if isinstance(input_size, int) else input_size
        anchors_per_cell = len(self.levels[0].scales) * len(RATIOS)
        self.rpn_conv = nn.Conv2d(channels, rpn_channels, 3, padding=1)
        self.rpn_objectness = nn.Conv2d(rpn_channels, anchors_per_cell, 1)
        self.rpn_deltas = nn.Conv2d(rpn_channels, anchors_per_cell * 4, 1)
        self.class_logits = nn.Linear(region_channels, labels + 1)  # the last one is background
        self.refine = nn.Linear(region_channels, 4 * labels if class_boxes else 4)
        self.register_buffer("anchors", self._make_anchors(), persistent=False)

    @abstractmethod
    def features(self, luma: Tensor, *, frozen_stages: int = 0) -> list[Tensor]:
        """Feature maps [B, channels, H / stride, W / stride] of `levels`; see `region_features`."""

    @abstractmethod
    def region_features(self, pooled: Tensor) -> Tensor:
        """[B, N, region_channels] of pooled regions [B, N, channels * 49]."""

    def rpn(self, features: Sequence[Tensor]) -> Rpn:
        """Objectness and deltas of every anchor, in the anchors' order (level, row, column, anchor of the cell)."""
        hidden = [F.relu(self.rpn_conv(x)) for x in features]
        objectness = [self.rpn_objectness(x).permute(0, 2, 3, 1).flatten(1) for x in hidden]
        deltas = [self.rpn_deltas(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4) for x in hidden]
        return Rpn(torch.cat(objectness, dim=1), torch.cat(deltas, dim=1))

    @torch.no_grad()
    def proposals(self, rpn: Rpn) -> Tensor:
        """The top 300 proposals [B, 300, 4] after suppression, best first, clipped to the input."""
        scores, index = rpn.objectness.topk(min(PROPOSALS_BEFORE_NMS, len(self.anchors)), dim=1)
        deltas = rpn.deltas.gather(1, index[..., None].expand(-1, -1, 4))
        boxes = self._clip(box_ops.decode(deltas, self.anchors[index]))
        alive = box_ops.suppress(boxes, PROPOSAL_NMS)
        ranked = torch.sigmoid(scores) + alive  # survivors first, each group by score
        _, best = ranked.topk(min(PROPOSALS, ranked.shape[1]), dim=1)
        return boxes.gather(1, best[..., None].expand(-1, -1, 4))

    def roi_heads(self, features: Sequence[Tensor], proposals: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits [B, N, labels + 1] and refinement deltas [B, N, 4 or 4 * labels] of proposals [B, N, 4]."""
        pooled = box_ops.roi_align(features[0], proposals, self.levels[0].stride, size=POOLED)
        x = self.region_features(pooled.permute(0, 2, 1, 3).flatten(2))
        return self.class_logits(x), self.refine(x)

    def forward(self, luma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The whole network.

        Returns:
            boxes float32[B, 100, 4] xyxy in input pixels; scores float32[B, 100], descending, 0 in unused slots;
            labels int64[B, 100].
        """
        features = self.features(luma)
        proposals = self.proposals(self.rpn(features))
        return self.detections(*self.roi_heads(features, proposals), proposals)

    def detections(self, logits: Tensor, deltas: Tensor, proposals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Per-class suppression of the second stage's answers; see `forward`."""
        scores = F.softmax(logits, dim=-1)[..., : self.labels].flatten(1)
        scores, index = scores.topk(proposals.shape[1], dim=1)
        region, labels = index // self.labels, index % self.labels
        chosen = index if self.class_boxes else region
        deltas = deltas.reshape(deltas.shape[0], -1, 4).gather(1, chosen[..., None].expand(-1, -1, 4))
        proposals = proposals.gather(1, region[..., None].expand(-1, -1, 4))
        boxes = self._clip(box_ops.decode(deltas / deltas.new_tensor(REFINE_WEIGHTS), proposals))
        apart = (labels * (2 * max(self.height, self.width))).to(boxes.dtype)[..., None]  # classes never overlap
        alive = box_ops.suppress(boxes + apart, DETECTION_NMS)
        scores = scores * alive * (scores > SCORE_FLOOR).to(scores.dtype)
        scores, best = scores.topk(DETECTIONS, dim=1)
        return boxes.gather(1, best[..., None].expand(-1, -1, 4)), scores, labels.gather(1, best)

    def _clip(self, boxes: Tensor) -> Tensor:
        """Boxes [..., 4] inside the input."""
        limit = boxes.new_tensor([self.width, self.height, self.width, self.height])
        return torch.minimum(boxes.clamp(min=0), limit)

    def _make_anchors(self) -> Tensor:
        """Anchors float32[A, 4] xyxy of all levels, centred on the cells of their maps."""
        return torch.cat([self._level_anchors(level) for level in self.levels])

    def _level_anchors(self, level: Level) -> Tensor:
        y, x = torch.meshgrid(
            (torch.arange(-(-self.height // level.stride), dtype=torch.float32) + 0.5) * level.stride,
            (torch.arange(-(-self.width // level.stride), dtype=torch.float32) + 0.5) * level.stride,
            indexing="ij",
        )
        sizes = torch.tensor([(s / r**0.5, s * r**0.5) for s in level.scales for r in RATIOS])
        sizes = sizes * (max(self.height, self.width) / 320)
        centre = torch.stack([x, y], dim=-1).reshape(-1, 1, 2)
        return torch.cat([centre - sizes / 2, centre + sizes / 2], dim=-1).reshape(-1, 4)
