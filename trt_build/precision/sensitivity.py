"""Which layers must stay in float: each layer is made INT8 alone, and the damage measured.

The damages of single layers do not simply add up, so they only give the order. Layers are then taken out of INT8, the
worst first, until the whole network's damage is within its limit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import onnx
from tqdm import tqdm

from edge.bundles.manifest import ModelName
from training.quantization.graph import Layer, insert

# A colour difference (CIEDE2000) of 1 is about the least that one can see; context and colorizer share it. Of a
# recognizer's objects, those whose scores are low come and go by themselves: see docs/build.md.
LIMITS: Final[dict[ModelName, float]] = {"context": 0.2, "colorizer": 0.3, "recognizer": 0.12}
LARGEST_SHARE = 0.25  # of the layers may stay in float; what is then still too much, the gate of `evaluate` refuses


@dataclass(frozen=True)
class Sensitivity:
    """What was measured of a network.

    Attributes:
        alone: damage of each layer when it alone is INT8, the largest first.
        kept: the layers that stay in float, the first of `alone`.
        whole: damage of the network with 0, 1, ... layers in float, up to those kept.
    """

    alone: dict[Layer, float]
    kept: tuple[Layer, ...]
    whole: tuple[float, ...]


def measure(
    model: onnx.ModelProto,
    chosen: Sequence[Layer],
    limits: Mapping[str, float],
    damage: Callable[[onnx.ModelProto], float],
    acceptable: float,
) -> Sensitivity:
    """Find the layers to keep in float.

    Args:
        limits: of each layer's activation, what INT8's 127 stands for.
        damage: how far a graph is from FP32.
        acceptable: damage of the whole network that is small enough.
    """
    alone = {
        layer: damage(insert(model, [layer], limits))
        for layer in tqdm(chosen, desc="one layer at a time", unit="layer", disable=None)
    }
    order = sorted(chosen, key=lambda layer: -alone[layer])
    whole: list[float] = []
    for count in range(int(len(order) * LARGEST_SHARE) + 1):
        whole.append(damage(insert(model, order[count:], limits)))
        if whole[-1] <= acceptable:
            break
    count = whole.index(min(whole))
    return Sensitivity({layer: alone[layer] for layer in order}, tuple(order[:count]), tuple(whole[: count + 1]))
