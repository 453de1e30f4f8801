"""A tiny network with a pretrained part, and its losses: what the loop needs, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from training.learning.recipe import Recipe
from training.learning.state import Training

STEPS = 20


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.slow, self.fast = nn.Linear(4, 4), nn.Linear(4, 1)
        self.dropout = nn.Dropout(0.2)


class TinyLosses(nn.Module):
    def __init__(self, network: Tiny) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.network.fast(self.network.dropout(self.network.slow(x)))
        return {"squared": (y - x.sum(1, keepdim=True)).square().mean()}


def batches(start: int = 0) -> Iterator[list[Tensor]]:
    for step in range(start, STEPS):
        yield [torch.randn(8, 4, generator=torch.Generator().manual_seed(step))]


def tiny_training(seed: int = 0, recipe: Recipe | None = None) -> tuple[TinyLosses, Training]:
    torch.manual_seed(seed)
    network = Tiny()
    return TinyLosses(network), Training(network, recipe or Recipe(STEPS, warm_up=3), slow=network.slow)
