"""The second stage on given proposals: Girshick, "Fast R-CNN", 2015, out of any two-stage detector here."""

from __future__ import annotations

from torch import Tensor, nn

from training.models.two_stage import TwoStage


class SecondStage(nn.Module):
    """RoIAlign, fully connected layers and suppression on features and proposals: all that comes after those."""

    def __init__(self, network: TwoStage) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor, proposals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Detections as `TwoStage.forward` gives them.

        Args:
            features: [B, C, H / stride, W / stride], the first map of `TwoStage.features`.
            proposals: [B, N, 4] xyxy in input pixels, N from 100 up. Fast R-CNN's come from outside of the network.
        """
        return self.network.detections(*self.network.roi_heads([features], proposals), proposals)
