"""The colorizer, paper variant: layer for layer as the reading of the paper says.

Tang, Zheng and Zhu, "A fast near-infrared image colorization deep learning model", section 3. Sizes are those of a
256x256 input; any multiples of 32 do.

========== ============ =====================================================================================
part       output       layers
========== ============ =====================================================================================
input      256x256x1    luma, and a normalisation layer (batch normalisation of the one channel)
encoder    8x8x1000     14 convolutions @3x3 with ReLU, stride 2 at the end of each of five blocks:
                        64, 64 / 128, 128 / 256, 256, 256 / 512, 512, 512 / 512, 512, 512, 1000
classifier 1000         Inception-ResNet-v2's logits (or another context network's)
fusion     8x8x1000     formula (1): y(u, v) = b + w [classifier; encoder(u, v)]
decoder    128x128x2    64@3x3, 32@2x2, 16@2x2, 2@2x2, 2@2x2, a nearest 2x2 upsampling after each of the first
                        four; Leaky ReLU between, sigmoid at the end, mapped linearly to ab in -110..110
========== ============ =====================================================================================

The block count: the paper names 64, 128, 256 and 512 channels, 14 convolutions and an output of 8x8x1000, that is,
five halvings. VGG-16's 13 convolutions in five blocks and one of 1000 channels are 14; the fifth block has four. The
fifth upsampling, 128x128 to the frame, is the merging kernel's.

Not in the paper: Leaky ReLU's slope, 0.2, and where the odd row and column of an even kernel go: right and bottom.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.models.interfaces import AB_RANGE, CONTEXT_SIZE, ColourNetwork

ENCODER = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512, 1000))
DECODER = ((64, 3), (32, 2), (16, 2), (2, 2), (2, 2))  # (channels, kernel)
SLOPE = 0.2  # TensorFlow's


class Fusion(nn.Module):
    """Formula (1): one linear map of the context vector and the features of a position, stacked.

    The context is the same everywhere, so w [context; features(u, v)] + b is a 1x1 convolution of the features plus
    one vector: w_e features(u, v) + (w_c context + b).
    """

    def __init__(self, features: int, context: int, out: int) -> None:
        super().__init__()
        self.local = nn.Conv2d(features, out, 1, bias=False)
        self.context = nn.Linear(context, out)

    def forward(self, features: Tensor, context: Tensor) -> Tensor:
        """[B, out, h, w] of features [B, C, h, w] and context [B, K]."""
        fused: Tensor = self.local(features) + self.context(context)[..., None, None]
        return fused


class PaperColorizer(ColourNetwork):
    """See `ColourNetwork.forward` for inputs and output.

    Args:
        encoder: output channels of the encoder's convolutions, block by block; others than the default make a
            smaller network.
    """

    loss = "mse"

    def __init__(self, encoder: Sequence[Sequence[int]] = ENCODER) -> None:
        super().__init__()
        self.normalise = nn.BatchNorm2d(1)
        self.encoder = _encoder(encoder)
        self.fusion = Fusion(encoder[-1][-1], CONTEXT_SIZE, encoder[-1][-1])
        self.decoder = nn.ModuleList()
        cin = encoder[-1][-1]
        for cout, kernel in DECODER:
            conv = nn.Conv2d(cin, cout, kernel, padding=kernel // 2)
            nn.init.kaiming_normal_(conv.weight, SLOPE)
            self.decoder.append(conv)
            cin = cout
        nn.init.normal_(conv.weight, std=0.1)  # begin near grey, where the sigmoid is steep

    def forward(self, luma: Tensor, context: Tensor) -> Tensor:
        """ab at half the input's size."""
        x = self.fusion(self.encoder(self.normalise(luma)), context)
        for i, conv in enumerate(self.decoder):
            assert isinstance(conv, nn.Conv2d)
            if i > 0:
                x = F.interpolate(F.leaky_relu(x, SLOPE), scale_factor=2.0, mode="nearest")
            x = keep_size(conv, x)
        return (2.0 * torch.sigmoid(x) - 1.0) * AB_RANGE


def keep_size(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution with a padding of half its kernel, of which an even one gives a row and a column too many.

    The first ones go, so that it pads right and bottom alone. (A Pad node before it, or "same", would say so too, but
    the one is exported with a shape that is not fixed, and PyTorch warns of the other.)
    """
    y: Tensor = conv(x)
    return y if conv.kernel_size[0] % 2 else y[..., 1:, 1:]


def _encoder(blocks: Sequence[Sequence[int]]) -> nn.Sequential:
    layers: list[nn.Module] = []
    cin = 1
    for block in blocks:
        for i, cout in enumerate(block):
            conv = nn.Conv2d(cin, cout, 3, stride=2 if i == len(block) - 1 else 1, padding=1)
            # fourteen layers without normalisation between: the variance must neither grow nor fade
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            layers += [conv, nn.ReLU()]
            cin = cout
    return nn.Sequential(*layers)
