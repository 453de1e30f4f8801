"""The recognizer, paper variant: layer for layer as the reading of the paper says.

Tang, Zheng and Zhu, "A fast near-infrared image colorization deep learning model": Faster R-CNN of which three
convolutions are left.

======== ======================================================================
input    luma, one channel
backbone 32@3x3, 64@2x2, 64@2x2, padding 1, ReLU, each with max pooling 2x2, stride 2
RPN      3 scales x 3 ratios; NMS at 0.7; top 300 proposals
RoI      RoIAlign 7x7, fully connected 512, 256, 128; dropout 0.5 while training
output   class scores (softmax) and one box refinement for each class
======== ======================================================================
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from training.models.two_stage import POOLED, InputSize, Level, TwoStage

CHANNELS = 64
LEVELS = (Level(8, (40.0, 100.0, 220.0)),)  # the paper gives the number of scales, not their sizes


class PaperRecognizer(TwoStage):
    """See `TwoStage.forward` for inputs and outputs."""

    def __init__(self, labels: int, input_size: InputSize = 320) -> None:
        super().__init__(
            labels,
            input_size,
            LEVELS,
            channels=CHANNELS,
            rpn_channels=256,  # as Faster R-CNN on ZF, its lightest network
            region_channels=128,
            class_boxes=True,
        )
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 2, padding=1)
        self.conv3 = nn.Conv2d(64, CHANNELS, 2, padding=1)
        self.fc1 = nn.Linear(CHANNELS * POOLED**2, 512)
        self.fc2 = nn.Linear(512, 256)
        self.fc3 = nn.Linear(256, 128)
        self.dropout = nn.Dropout(0.5)

    def features(self, luma: Tensor, *, frozen_stages: int = 0) -> list[Tensor]:
        """The map at stride 8. A 2x2 convolution with padding 1 adds a row and a column; pooling drops them."""
        x = luma
        for conv in (self.conv1, self.conv2, self.conv3):
            x = F.max_pool2d(F.relu(conv(x)), 2)
        return [x]

    def region_features(self, pooled: Tensor) -> Tensor:
        """[B, N, 128] of pooled regions [B, N, 64 * 49]."""
        x = pooled
        for layer in (self.fc1, self.fc2, self.fc3):
            x = self.dropout(F.relu(layer(x)))
        return x
