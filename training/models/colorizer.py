"""The colorizer, field variant: encoder, fusion with the scene's context vector, decoder to ab.

The plan is the paper's (encoder, fusion formula (1), five-stage decoder to 128x128); the parts are light: the encoder
is EfficientNet-Lite0, and skip connections carry edges from it to the decoder, so that colour stays inside things.

Fusion, formula (1): y(u, v) = b + w [context ; encoder(u, v)]. As the context is the same everywhere, w splits into a
1x1 convolution of the encoder's features and one vector, w_c context + b, added to all positions.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.models.colour_bins import annealed_mean, bins
from training.models.efficientnet_lite import FEATURE_CHANNELS, EfficientNetLite, imagenet_lite
from training.models.interfaces import AB_RANGE, CONTEXT_SIZE, ColourNetwork

DECODER_CHANNELS = (32, 48, 64, 96, 128)  # at strides 2, 4, 8, 16, 32


class Colorizer(ColourNetwork):
    """See `ColourNetwork.forward` for inputs and output.

    The switches are for the ablation; what ships has all of them at their defaults.

    Args:
        encoder: a fresh one if absent.
        skips: connections from encoder to decoder.
        context: the fusion with the context vector.
        head: "ab" gives the two numbers, "bins" classifies at a quarter of the input's size (Zhang et al., 2016).
        loss: see `ColourNetwork`; absent, the one that suits the head.
    """

    centres: Tensor

    def __init__(
        self,
        encoder: EfficientNetLite | None = None,
        *,
        skips: bool = True,
        context: bool = True,
        head: Literal["ab", "bins"] = "ab",
        loss: str | None = None,
    ) -> None:
        super().__init__()
        self.uses_context, self.has_skips, self.head = context, skips, head
        self.loss = loss or ("weighted" if head == "ab" else "classes")
        self.encoder = encoder or EfficientNetLite()
        self.fuse_local = nn.Conv2d(FEATURE_CHANNELS[4], DECODER_CHANNELS[4], 1, bias=not context)
        if context:
            self.fuse_context = nn.Linear(CONTEXT_SIZE, DECODER_CHANNELS[4])
            nn.init.normal_(self.fuse_context.weight, std=0.01)
        self.ups, self.skips, self.convs = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for level in (3, 2, 1, 0):
            width = DECODER_CHANNELS[level]
            self.ups.append(nn.Conv2d(DECODER_CHANNELS[level + 1], width, 1))
            if skips:
                self.skips.append(nn.Conv2d(FEATURE_CHANNELS[level], width, 1))
            self.convs.append(nn.Conv2d(width, width, 3, padding=1))
        if head == "ab":
            self.ab = nn.Conv2d(DECODER_CHANNELS[0], 2, 3, padding=1)
            nn.init.normal_(self.ab.weight, std=0.01)
        else:
            centres = bins()
            self.classes = nn.Conv2d(DECODER_CHANNELS[0], len(centres), 1)
            self.register_buffer("centres", centres, persistent=False)

    def forward(self, luma: Tensor, context: Tensor) -> Tensor:
        """ab at half the input's size (256x256 gives 128x128)."""
        if self.head == "bins":
            ab = annealed_mean(self.logits(luma, context), self.centres)
            return F.interpolate(ab, scale_factor=2.0, mode="bilinear", align_corners=False)
        return torch.tanh(self.ab(self._decoded(luma, context))) * AB_RANGE

    def logits(self, luma: Tensor, context: Tensor) -> Tensor:
        """Logits [B, 313, H/4, W/4] of the bins; only with `head="bins"`."""
        if self.head != "bins":
            return super().logits(luma, context)
        out: Tensor = self.classes(F.avg_pool2d(self._decoded(luma, context), 2))
        return out

    def _decoded(self, luma: Tensor, context: Tensor) -> Tensor:
        """Features [B, 32, H/2, W/2]."""
        *lower, top = self.encoder.features(luma)
        x = self.fuse_local(top)
        if self.uses_context:  # logits spread over about -4..8
            x = x + self.fuse_context(context / 4.0)[..., None, None]
        x = F.relu(x)
        for i, features in enumerate(reversed(lower)):
            x = F.interpolate(self.ups[i](x), scale_factor=2.0, mode="nearest")
            x = F.relu(x + self.skips[i](features) if self.has_skips else x)
            x = F.relu(self.convs[i](x))
        return x


# What docs/models.md compares with the one that ships: each lacks one of its parts, or learns by another loss.
ABLATIONS: dict[str, dict[str, Any]] = {
    "field-mse": {"loss": "mse"},
    "field-smooth-l1": {"loss": "smooth_l1"},
    "field-classes": {"head": "bins"},
    "field-no-skips": {"skips": False},
    "field-no-context": {"context": False},
}


def field_colorizer(variant: str = "field", *, pretrained: bool = False) -> Colorizer:
    """The field variant or one of its `ABLATIONS`; pretrained: its encoder starts from ImageNet weights."""
    return Colorizer(imagenet_lite() if pretrained else None, **ABLATIONS.get(variant, {}))
