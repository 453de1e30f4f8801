"""Inception-ResNet-v2 on luma: the paper's classifier, whose 1000 logits are the scene's context vector.

Szegedy, Ioffe, Vanhoucke and Alemi, "Inception-v4, Inception-ResNet and the Impact of Residual Connections on
Learning", 2016, as TensorFlow's model garden released it. Parameters and buffers are named and shaped as in timm's
`inception_resnet_v2`, so its public state_dict loads strictly.

======================== ========= =====================================================================
part                     299x299   branches, concatenated
======================== ========= =====================================================================
conv2d_1a, 2a, 2b        147       32 @3x3 /2, 32 @3x3, 64 @3x3
max pooling 3x3 /2       73
conv2d_3b, 4a            71        80 @1x1, 192 @3x3
max pooling 3x3 /2       35
mixed_5b                 35        96 | 48, 64 @5x5 | 64, 96, 96 | mean 3x3, 64; gives 320
repeat                   35        10 residual blocks of scale 0.17: 32 | 32, 32 | 32, 48, 64
mixed_6a                 17        384 /2 | 256, 256, 384 /2 | max pooling; gives 1088
repeat_1                 17        20 residual blocks of scale 0.10: 192 | 128, 160 @1x7, 192 @7x1
mixed_7a                 8         256, 384 /2 | 256, 288 /2 | 256, 288, 320 /2 | max pooling; gives 2080
repeat_2, block8         8         9 of scale 0.20, one of 1 without ReLU: 192 | 192, 224 @1x3, 256 @3x1
conv2d_7b, mean, classif 1         1536 @1x1, 1000
======================== ========= =====================================================================
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.models.interfaces import CONTEXT_SIZE, ContextNetwork


class ConvNorm(nn.Module):
    """Convolution without bias, batch normalisation, ReLU."""

    def __init__(
        self,
        cin: int,
        cout: int,
        kernel: int | tuple[int, int] = 1,
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(cout, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Mixed(nn.Module):
    """Parallel branches of one input, concatenated."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = [f"branch{i}" for i in range(len(branches))]
        for name, branch in zip(self.branches, branches, strict=True):
            self.add_module(name, branch)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.get_submodule(name)(x) for name in self.branches], dim=1)


class Residual(Mixed):
    """x + scale * conv1x1(branches of x), then ReLU unless it is the last."""

    def __init__(self, *branches: nn.Module, mixed: int, channels: int, scale: float, relu: bool = True) -> None:
        super().__init__(*branches)
        self.conv2d = nn.Conv2d(mixed, channels, 1)
        self.scale, self.relu = scale, relu

    def forward(self, x: Tensor) -> Tensor:
        out = x + self.scale * self.conv2d(super().forward(x))
        return F.relu(out) if self.relu else out


class InceptionResNetV2(ContextNetwork):
    """Luma float32[B, 1, 299, 299] in 0..1 to ImageNet logits float32[B, 1000].

    Args:
        repeats: blocks in `repeat`, `repeat_1`, `repeat_2`; others than the default make a smaller network.
    """

    input_px = 299

    def __init__(self, repeats: tuple[int, int, int] = (10, 20, 9)) -> None:
        super().__init__()
        self.conv2d_1a = ConvNorm(3, 32, 3, stride=2)
        self.conv2d_2a = ConvNorm(32, 32, 3)
        self.conv2d_2b = ConvNorm(32, 64, 3, padding=1)
        self.conv2d_3b = ConvNorm(64, 80)
        self.conv2d_4a = ConvNorm(80, 192, 3)
        self.mixed_5b = _mixed_5b()
        self.repeat = nn.Sequential(*(_block35() for _ in range(repeats[0])))
        self.mixed_6a = _mixed_6a()
        self.repeat_1 = nn.Sequential(*(_block17() for _ in range(repeats[1])))
        self.mixed_7a = _mixed_7a()
        self.repeat_2 = nn.Sequential(*(_block8(0.2) for _ in range(repeats[2])))
        self.block8 = _block8(1.0, relu=False)
        self.conv2d_7b = ConvNorm(2080, 1536)
        self.classif = nn.Linear(1536, CONTEXT_SIZE)

    def forward(self, luma: Tensor) -> Tensor:
        """Logits [B, 1000]. Luma stands for all three colours, normalised with mean 0.5 and deviation 0.5."""
        x = (luma.expand(-1, 3, -1, -1) - 0.5) / 0.5
        x = self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(x)))
        x = self.conv2d_4a(self.conv2d_3b(F.max_pool2d(x, 3, stride=2)))
        x = self.repeat(self.mixed_5b(F.max_pool2d(x, 3, stride=2)))
        x = self.repeat_1(self.mixed_6a(x))
        x = self.block8(self.repeat_2(self.mixed_7a(x)))
        logits: Tensor = self.classif(self.conv2d_7b(x).mean(dim=(2, 3)))
        return logits


def _mixed_5b() -> Mixed:
    return Mixed(
        ConvNorm(192, 96),
        nn.Sequential(ConvNorm(192, 48), ConvNorm(48, 64, 5, padding=2)),
        nn.Sequential(ConvNorm(192, 64), ConvNorm(64, 96, 3, padding=1), ConvNorm(96, 96, 3, padding=1)),
        nn.Sequential(nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False), ConvNorm(192, 64)),
    )


def _block35() -> Residual:
    return Residual(
        ConvNorm(320, 32),
        nn.Sequential(ConvNorm(320, 32), ConvNorm(32, 32, 3, padding=1)),
        nn.Sequential(ConvNorm(320, 32), ConvNorm(32, 48, 3, padding=1), ConvNorm(48, 64, 3, padding=1)),
        mixed=128,
        channels=320,
        scale=0.17,
    )


def _mixed_6a() -> Mixed:
    return Mixed(
        ConvNorm(320, 384, 3, stride=2),
        nn.Sequential(ConvNorm(320, 256), ConvNorm(256, 256, 3, padding=1), ConvNorm(256, 384, 3, stride=2)),
        nn.MaxPool2d(3, stride=2),
    )


def _block17() -> Residual:
    return Residual(
        ConvNorm(1088, 192),
        nn.Sequential(
            ConvNorm(1088, 128),
            ConvNorm(128, 160, (1, 7), padding=(0, 3)),
            ConvNorm(160, 192, (7, 1), padding=(3, 0)),
        ),
        mixed=384,
        channels=1088,
        scale=0.1,
    )


def _mixed_7a() -> Mixed:
    return Mixed(
        nn.Sequential(ConvNorm(1088, 256), ConvNorm(256, 384, 3, stride=2)),
        nn.Sequential(ConvNorm(1088, 256), ConvNorm(256, 288, 3, stride=2)),
        nn.Sequential(ConvNorm(1088, 256), ConvNorm(256, 288, 3, padding=1), ConvNorm(288, 320, 3, stride=2)),
        nn.MaxPool2d(3, stride=2),
    )


def _block8(scale: float, *, relu: bool = True) -> Residual:
    return Residual(
        ConvNorm(2080, 192),
        nn.Sequential(
            ConvNorm(2080, 192),
            ConvNorm(192, 224, (1, 3), padding=(0, 1)),
            ConvNorm(224, 256, (3, 1), padding=(1, 0)),
        ),
        mixed=448,
        channels=2080,
        scale=scale,
        relu=relu,
    )
