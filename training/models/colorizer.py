"""The colorizer, field variant: encoder, fusion with the scene's context vector, decoder to ab.

The plan is the paper's (encoder, fusion formula (1), five-stage decoder to 128x128); the parts are light: the encoder
is EfficientNet-Lite0, and skip connections carry edges from it to the decoder, so that colour stays inside things.

Fusion, formula (1): y(u, v) = b + w [context ; encoder(u, v)]. As the context is the same everywhere, w splits into a
1x1 convolution of the encoder's features and one vector, w_c context + b, added to all positions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.models.efficientnet_lite import FEATURE_CHANNELS, EfficientNetLite0, imagenet_lite0

CONTEXT_SIZE = 1000
AB_RANGE = 110.0
DECODER_CHANNELS = (32, 48, 64, 96, 128)  # at strides 2, 4, 8, 16, 32


class Colorizer(nn.Module):
    """Luma float32[B, 1, H, W] in 0..1 and context float32[B, 1000] to ab float32[B, 2, H/2, W/2]."""

    def __init__(self, encoder: EfficientNetLite0 | None = None) -> None:
        super().__init__()
        self.encoder = encoder or EfficientNetLite0()
        self.fuse_local = nn.Conv2d(FEATURE_CHANNELS[4], DECODER_CHANNELS[4], 1, bias=False)
        self.fuse_context = nn.Linear(CONTEXT_SIZE, DECODER_CHANNELS[4])
        nn.init.normal_(self.fuse_context.weight, std=0.01)
        self.ups, self.skips, self.convs = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for level in (3, 2, 1, 0):
            width = DECODER_CHANNELS[level]
            self.ups.append(nn.Conv2d(DECODER_CHANNELS[level + 1], width, 1))
            self.skips.append(nn.Conv2d(FEATURE_CHANNELS[level], width, 1))
            self.convs.append(nn.Conv2d(width, width, 3, padding=1))
        self.ab = nn.Conv2d(DECODER_CHANNELS[0], 2, 3, padding=1)
        nn.init.normal_(self.ab.weight, std=0.01)

    def forward(self, luma: Tensor, context: Tensor) -> Tensor:
        """ab in CIELAB units, -110..110, at half the input's size (256x256 gives 128x128)."""
        *lower, top = self.encoder.features(luma)
        vector = self.fuse_context(context / 4.0)[..., None, None]  # logits spread over about -4..8
        x = F.relu(self.fuse_local(top) + vector)
        for up, skip, conv, features in zip(self.ups, self.skips, self.convs, reversed(lower), strict=True):
            x = F.interpolate(up(x), scale_factor=2.0, mode="nearest")
            x = F.relu(conv(F.relu(x + skip(features))))
        ab: Tensor = torch.tanh(self.ab(x)) * AB_RANGE
        return ab


def field_colorizer() -> Colorizer:
    """A colorizer whose encoder starts from ImageNet weights."""
    return Colorizer(imagenet_lite0())
