"""The recognizer, field variant: a light Faster R-CNN on EfficientNet-Lite0.

The paper's two stages (see `training.models.recognizer_paper`) on a pretrained backbone with a small feature pyramid
(Lin et al., "Feature Pyramid Networks", 2017): maps at stride 8, for far people and helmets, and at stride 16, for
what is near, share one region proposal network with 3 scales x 3 ratios each; NMS at 0.7 keeps the top 300
proposals; RoIAlign 7x7 on the stride-8 map; two fully connected layers; class scores and one box refinement.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from training.models.efficientnet_lite import FEATURE_CHANNELS, EfficientNetLite, imagenet_lite
from training.models.two_stage import POOLED, InputSize, Level, TwoStage

LEVELS = (Level(8, (14.0, 28.0, 56.0)), Level(16, (90.0, 150.0, 260.0)))
WIDTH = 96
REGION_CHANNELS = 256


class Recognizer(TwoStage):
    """See `TwoStage.forward` for inputs and outputs."""

    def __init__(self, labels: int, input_size: InputSize = 320, backbone: EfficientNetLite | None = None) -> None:
        super().__init__(
            labels,
            input_size,
            LEVELS,
            channels=WIDTH,
            rpn_channels=WIDTH,
            region_channels=REGION_CHANNELS,
            class_boxes=False,
        )
        self.backbone = backbone or EfficientNetLite()
        self.laterals = nn.ModuleList(nn.Conv2d(c, WIDTH, 1) for c in FEATURE_CHANNELS[2:])
        self.smooth8 = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.smooth16 = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.fc1 = nn.Linear(WIDTH * POOLED**2, REGION_CHANNELS)
        self.fc2 = nn.Linear(REGION_CHANNELS, REGION_CHANNELS)
        self.dropout = nn.Dropout(0.2)

    def features(self, luma: Tensor, *, frozen_stages: int = 0) -> list[Tensor]:
        """Maps at strides 8 and 16; the first `frozen_stages` stages of the backbone run without gradient."""
        *_, c3, c4, c5 = self.backbone.features(luma, frozen_stages=frozen_stages)
        p5, p4, p3 = (lateral(c) for lateral, c in zip(reversed(self.laterals), (c5, c4, c3), strict=True))
        p4 = p4 + F.interpolate(p5, scale_factor=2.0, mode="nearest")
        p4 = F.relu(self.smooth16(F.relu(p4)))
        p3 = p3 + F.interpolate(p4, scale_factor=2.0, mode="nearest")
        return [F.relu(self.smooth8(F.relu(p3))), p4]

    def region_features(self, pooled: Tensor) -> Tensor:
        """[B, N, 256] of pooled regions [B, N, 96 * 49]."""
        x = F.relu(self.fc1(pooled))
        x = F.relu(self.fc2(self.dropout(x)))
        out: Tensor = self.dropout(x)
        return out


def field_recognizer(labels: int, input_size: InputSize = 320) -> Recognizer:
    """A recognizer that starts from ImageNet weights."""
    return Recognizer(labels, input_size, backbone=imagenet_lite())
