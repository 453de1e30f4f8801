"""A network on its way: weights, optimizer, moving average, step; saved and resumed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from edge.errors import InputError, TapetumError
from training.checkpoint import STATE, Card, read_tensors, save_weights, write_tensors
from training.learning.devices import Precision
from training.learning.ranks import Ranks
from training.learning.recipe import Recipe

ONE, MANY = Ranks(), ("exp_avg", "exp_avg_sq")


class NonFiniteLossError(TapetumError):
    """The loss or its gradient became NaN or infinite; the last checkpoint stays as it was saved."""


class Training:
    """A network being trained by a recipe; `slow` (a pretrained part of it) learns at a lower rate.

    `update` and the constructor are called by all `ranks` alike.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        *,
        slow: nn.Module | None = None,
        precision: Precision | None = None,
        ranks: Ranks = ONE,
    ) -> None:
        self.network, self.recipe, self.ranks, self.step = network, recipe, ranks, 0
        self.precision = precision or Precision()
        self.scaler = self.precision.scaler()
        self.parameters = {n: p for n, p in network.named_parameters() if p.requires_grad}
        slow_ids = {id(p) for p in slow.parameters()} if slow else set()
        groups = [
            {"params": [p for p in self.parameters.values() if id(p) not in slow_ids], "speed": 1.0},
            {"params": [p for p in self.parameters.values() if id(p) in slow_ids], "speed": recipe.slow_factor},
        ]
        self.optimizer = _optimizer([group for group in groups if group["params"]], recipe)
        self.average = {k: v.detach().clone() for k, v in network.state_dict().items()}

    @property
    def learning_rate(self) -> float:
        """Of the coming step, for parameters that are not slow."""
        return self.recipe.learning_rate * self.recipe.factor(self.step)

    def update(self, losses: Mapping[str, Tensor]) -> dict[str, float]:
        """One optimizer step on the sum of the losses; returns them, averaged over all processes.

        A gradient that overflows float16 skips the step (and halves the scale); the step counts all the same.

        Raises:
            NonFiniteLossError: before any weight is changed.
        """
        stacked = torch.stack([loss.float() for loss in losses.values()])
        means = dict(zip(losses, self.ranks.mean(stacked), strict=True))
        if not math.isfinite(sum(means.values())):
            named = ", ".join(f"{name} {value:.4g}" for name, value in means.items())
            raise NonFiniteLossError(f"step {self.step}: the loss is not finite ({named})")
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(self.scaler.scale(stacked.sum()))
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), self.recipe.clip_norm)
        overflow = self.scaler.is_enabled() and self.scaler.get_scale() > 1.0
        if not torch.isfinite(norm) and not overflow:  # a finite loss may have such a gradient; it spoils all weights
            raise NonFiniteLossError(f"step {self.step}: the gradient is not finite")
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * group["speed"]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        self._update_average()
        return means

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:  # a count of batches
                self.average[name].copy_(value)

    @contextmanager
    def averaged(self) -> Iterator[nn.Module]:
        """The network as it would ship now: with the averaged weights, in evaluation mode."""
        weights = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.network.load_state_dict(self.average)
        try:
            with torch.inference_mode():
                yield self.network.eval()
        finally:
            self.network.load_state_dict(weights)
            self.network.train()

    def save(self, folder: Path, card: Card) -> None:
        """The averaged weights with their card, and all that `resume` needs.

        Raises:
            TapetumError: the folder cannot be written; an older checkpoint in it survives.
        """
        card.step, card.samples = self.step, self.step * self.recipe.batch
        save_weights(folder, self.average, card)
        state = {f"weights.{k}": v for k, v in self.network.state_dict().items()}
        state |= {f"average.{k}": v for k, v in self.average.items()}
        for name, parameter in self.parameters.items():
            for key, value in self.optimizer.state[parameter].items():
                state[f"optimizer.{key}.{name}"] = value
        if self.scaler.is_enabled():
            state |= {f"scaler.{k}": torch.tensor(v) for k, v in self.scaler.state_dict().items()}
        write_tensors(folder / STATE, state | {"step": torch.tensor(self.step)})

    def resume(self, folder: Path) -> None:
        """Continue from the state in a run folder.

        Raises:
            InputError: there is none, it is damaged, or it is another network's.
        """
        state = read_tensors(folder / STATE)
        try:
            self.step = int(state["step"])
            self.network.load_state_dict(_under("weights.", state))
            for name, value in _under("average.", state).items():
                self.average[name].copy_(value)
            for name, parameter in self.parameters.items():
                if f"optimizer.step.{name}" in state:  # a frozen parameter has none
                    moments = {k: torch.empty_like(parameter).copy_(state[f"optimizer.{k}.{name}"]) for k in MANY}
                    self.optimizer.state[parameter] = {"step": state[f"optimizer.step.{name}"], **moments}
        except (KeyError, RuntimeError) as error:
            raise InputError(f"{folder / STATE}: not of this network: {str(error).splitlines()[0]}") from error
        if scaler := _under("scaler.", state):
            self.scaler.load_state_dict({name: value.item() for name, value in scaler.items()})


def _optimizer(groups: list[dict[str, object]], recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "adam":
        return torch.optim.Adam(groups, recipe.learning_rate)
    return torch.optim.AdamW(groups, recipe.learning_rate, weight_decay=recipe.weight_decay)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
