"""Zhang, Isola and Efros, "Colorful Image Colorization", 2016: the architecture that their code released.

======= ====== ============================================================================
block   size   layers, each with ReLU; batch normalisation at the end of conv1 to conv7
======= ====== ============================================================================
conv1   H/2    64, 64 /2
conv2   H/4    128, 128 /2
conv3   H/8    256, 256, 256 /2
conv4   H/8    512, 512, 512
conv5   H/8    512, 512, 512, dilation 2
conv6   H/8    512, 512, 512, dilation 2
conv7   H/8    512, 512, 512 (256 in the paper's table)
conv8   H/4    256 transposed @4x4, 256, 256 (128 in the paper's table)
logits  H/4    313 @1x1, the bins of `training.models.colour_bins`
======= ====== ============================================================================

All other convolutions are 3x3. The answer is the annealed mean of the bins, made larger bilinearly.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from training.models.colour_bins import annealed_mean, bins
from training.models.interfaces import ColourNetwork

# (channels as multiples of 64, stride of the last convolution, dilation)
BLOCKS = (
    ((1, 1), 2, 1),
    ((2, 2), 2, 1),
    ((4, 4, 4), 2, 1),
    ((8, 8, 8), 1, 1),
    ((8, 8, 8), 1, 2),
    ((8, 8, 8), 1, 2),
    ((8, 8, 8), 1, 1),
)


class Zhang(ColourNetwork):
    """See `ColourNetwork.forward` for inputs and output; the context is not used.

    Args:
        width: channels of the first convolution; the others follow.
    """

    loss, uses_context = "classes", False
    centres: Tensor

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        blocks, cin = [], 1
        for multiples, stride, dilation in BLOCKS:
            channels = [width * m for m in multiples]
            blocks.append(_block(cin, channels, stride, dilation))
            cin = channels[-1]
        self.blocks = nn.Sequential(*blocks)
        self.conv8 = nn.Sequential(
            nn.ConvTranspose2d(cin, 4 * width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(4 * width, 4 * width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(4 * width, 4 * width, 3, padding=1),
            nn.ReLU(),
        )
        centres = bins()
        self.classes = nn.Conv2d(4 * width, len(centres), 1)
        self.register_buffer("centres", centres, persistent=False)

    def logits(self, luma: Tensor, context: Tensor) -> Tensor:
        """Logits [B, 313, H/4, W/4] of the bins."""
        out: Tensor = self.classes(self.conv8(self.blocks(luma - 0.5)))
        return out

    def forward(self, luma: Tensor, context: Tensor) -> Tensor:
        """ab at half the input's size."""
        ab = annealed_mean(self.logits(luma, context), self.centres)
        return F.interpolate(ab, scale_factor=2.0, mode="bilinear", align_corners=False)


def _block(cin: int, channels: list[int], stride: int, dilation: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, cout in enumerate(channels):
        last = i == len(channels) - 1
        layers.append(nn.Conv2d(cin, cout, 3, stride if last else 1, padding=dilation, dilation=dilation))
        layers.append(nn.ReLU())
        cin = cout
    return nn.Sequential(*layers, nn.BatchNorm2d(cin))
