"""How a network learns: optimizer, learning rate over the steps, clipping, moving average."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

OPTIMIZERS = ("adam", "adamw")
SCHEDULES = ("paper", "cosine")
PAPER_DECAY, PAPER_FLOOR = 0.98, 0.1  # per epoch; "weight attenuation" and "decay factor" in the paper


@dataclass(frozen=True)
class Recipe:
    """One way to train.

    Args:
        steps: how many, in all; batch: images in each.
        epoch_steps: steps in which as many images are drawn as there are; the paper's schedule counts epochs.
        warm_up: steps over which the rate rises to `learning_rate`.
        final_factor: of the learning rate, at the end of the cosine.
        slow_factor: of the learning rate, for pretrained parameters.
        weight_decay: of AdamW; Adam has none.
        clip_norm: the gradient's norm is cut to this.
        ema_decay: of the moving average of the weights, which is what ships; 0 ships the weights themselves.
        save_every: steps between checkpoints.
    """

    steps: int
    batch: int = 1
    optimizer: str = "adamw"
    schedule: str = "cosine"
    learning_rate: float = 1e-3
    epoch_steps: float = 1.0
    warm_up: int = 200
    final_factor: float = 0.02
    slow_factor: float = 0.3
    weight_decay: float = 0.02
    clip_norm: float = 5.0
    ema_decay: float = 0.998
    save_every: int = 250

    def factor(self, step: int) -> float:
        """Of the learning rate, at a step."""
        if step < self.warm_up:
            return (step + 1) / self.warm_up
        if self.schedule == "paper":
            return max(PAPER_FLOOR, float(PAPER_DECAY ** (step / self.epoch_steps)))
        progress = min(1.0, (step - self.warm_up) / max(1, self.steps - self.warm_up))
        return self.final_factor + (1 - self.final_factor) * 0.5 * (1 + math.cos(math.pi * progress))


def recipe_of(variant: str, steps: int, **given: Any) -> Recipe:
    """The variant's own recipe, with what is `given` (and not None) in place of its parts.

    `paper` learns as the paper's reading says: Adam, exponential decay, no warm-up, no moving average.
    """
    own: dict[str, Any] = {"warm_up": min(200, steps // 10)}
    if variant == "paper":
        own = {"optimizer": "adam", "schedule": "paper", "warm_up": 0, "ema_decay": 0.0}
    return Recipe(steps, **own | {name: value for name, value in given.items() if value is not None})
