"""Iizuka, Simo-Serra and Ishikawa, "Let there be Color!", 2016: local and global image priors, learnt jointly.

============ ======= ============================================================
part         size    layers, 3x3 convolutions with batch normalisation and ReLU
============ ======= ============================================================
low-level    H/8     64 /2, 128, 128 /2, 256, 256 /2, 512
mid-level    H/8     512, 256
global       7x7     of the low-level features of the image at 224x224 (the same weights):
                     512 /2, 512, 512 /2, 512, then fully connected 1024, 512, 256
fusion       H/8     256 @1x1 of [global; mid-level(u, v)]
colorization H/2     128, upsampling, 64, 64, upsampling, 32, 2 with sigmoid
============ ======= ============================================================

Upsampling is nearest 2x2. Their classification branch, fully connected 256 and the classes of the Places data set
behind the global features' 512, is left out: it needs scene labels, and photographs here have none. The sigmoid is
mapped linearly to ab in -110..110.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.models.colorizer_paper import Fusion
from training.models.interfaces import AB_RANGE, ColourNetwork

GLOBAL_PX = 224


class Iizuka(ColourNetwork):
    """See `ColourNetwork.forward` for inputs and output; the context is not used: the network makes its own.

    Args:
        width: channels of the first convolution; the others follow.
        global_px: side of the image that the global features see, a multiple of 32.
    """

    loss, uses_context = "mse", False

    def __init__(self, width: int = 64, global_px: int = GLOBAL_PX) -> None:
        super().__init__()
        w, self.global_px = width, global_px
        self.low = _convolutions(1, (w, 2), (2 * w, 1), (2 * w, 2), (4 * w, 1), (4 * w, 2), (8 * w, 1))
        self.mid = _convolutions(8 * w, (8 * w, 1), (4 * w, 1))
        self.whole = _convolutions(8 * w, (8 * w, 2), (8 * w, 1), (8 * w, 2), (8 * w, 1))
        self.vector = nn.Sequential(
            *_connected(8 * w * (global_px // 32) ** 2, 16 * w), *_connected(16 * w, 8 * w), *_connected(8 * w, 4 * w)
        )
        self.fusion = Fusion(4 * w, 4 * w, 4 * w)
        self.fusion_norm = nn.BatchNorm2d(4 * w)
        self.colour8 = _convolutions(4 * w, (2 * w, 1))
        self.colour4 = _convolutions(2 * w, (w, 1), (w, 1))
        self.colour2 = _convolutions(w, (w // 2, 1))
        self.ab = nn.Conv2d(w // 2, 2, 3, padding=1)

    def forward(self, luma: Tensor, context: Tensor) -> Tensor:
        """ab at half the input's size."""
        x = self.fusion(self.mid(self.low(luma)), self.global_features(luma))
        x = F.relu(self.fusion_norm(x))
        x = F.interpolate(self.colour8(x), scale_factor=2.0, mode="nearest")
        x = F.interpolate(self.colour4(x), scale_factor=2.0, mode="nearest")
        return (2.0 * torch.sigmoid(self.ab(self.colour2(x))) - 1.0) * AB_RANGE

    def global_features(self, luma: Tensor) -> Tensor:
        """[B, 256] of the whole image."""
        side = (self.global_px, self.global_px)
        small = F.interpolate(luma, size=side, mode="bilinear", align_corners=False)
        vector: Tensor = self.vector(self.whole(self.low(small)).flatten(1))
        return vector


def _convolutions(cin: int, *layers: tuple[int, int]) -> nn.Sequential:
    """3x3 convolutions of (channels, stride), each with batch normalisation and ReLU."""
    modules: list[nn.Module] = []
    for cout, stride in layers:
        modules += [nn.Conv2d(cin, cout, 3, stride, padding=1), nn.BatchNorm2d(cout), nn.ReLU()]
        cin = cout
    return nn.Sequential(*modules)


def _connected(cin: int, cout: int) -> tuple[nn.Module, ...]:
    return nn.Linear(cin, cout), nn.BatchNorm1d(cout), nn.ReLU()
