"""Faster R-CNN on VGG-16: the detector that the paper compares itself with.

Ren, He, Girshick and Sun, 2015, on Simonyan and Zisserman's VGG-16, 2014.

======== ===================================================================================================
input    luma, one channel
backbone 64, 64 | 128, 128 | 256, 256, 256 | 512, 512, 512 | 512, 512, 512: conv1_1 to conv5_3, all @3x3 with
         ReLU; max pooling 2x2 at the bars: stride 16
RPN      512@3x3; 3 scales x 3 ratios; NMS at 0.7; top 300 proposals
RoI      RoIAlign 7x7 (where they have RoI pooling), fully connected 4096, 4096; dropout 0.5 while training
output   class scores (softmax) and one box refinement for each class
======== ===================================================================================================
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from training.models.two_stage import POOLED, InputSize, Level, TwoStage

BLOCKS = ((1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8))  # channels as multiples of 64
LEVELS = (Level(16, (51.2, 102.4, 204.8)),)  # 128, 256 and 512 pixels of an 800x600 input


class FasterRcnnVgg16(TwoStage):
    """See `TwoStage.forward` for inputs and outputs.

    Args:
        width: channels of the first convolution; the others follow, and the fully connected layers.
    """

    def __init__(self, labels: int, input_size: InputSize = 320, *, width: int = 64) -> None:
        channels, connected = 8 * width, 64 * width
        super().__init__(
            labels,
            input_size,
            LEVELS,
            channels=channels,
            rpn_channels=channels,
            region_channels=connected,
            class_boxes=True,
        )
        self.backbone = _vgg16(width)
        self.fc6 = nn.Linear(channels * POOLED**2, connected)
        self.fc7 = nn.Linear(connected, connected)
        self.dropout = nn.Dropout(0.5)

    def features(self, luma: Tensor, *, frozen_stages: int = 0) -> list[Tensor]:
        """The map of conv5_3, at stride 16. Nothing is frozen: no pretrained weights are at hand."""
        return [self.backbone(luma - 0.5)]

    def region_features(self, pooled: Tensor) -> Tensor:
        """[B, N, 4096] of pooled regions [B, N, 512 * 49]."""
        x = self.dropout(F.relu(self.fc6(pooled)))
        out: Tensor = self.dropout(F.relu(self.fc7(x)))
        return out


def _vgg16(width: int) -> nn.Sequential:
    layers = nn.Sequential()
    cin = 1
    for i, block in enumerate(BLOCKS, 1):
        if i > 1:
            layers.append(nn.MaxPool2d(2))
        for j, multiple in enumerate(block, 1):
            conv = nn.Conv2d(cin, width * multiple, 3, padding=1)
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            layers.add_module(f"conv{i}_{j}", conv)
            layers.append(nn.ReLU())
            cin = width * multiple
    return layers
