"""The one training loop: AdamW, warm-up and cosine, clipped gradients, moving average, resume."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from edge.errors import TapetumError
from training.checkpoint import STATE, Card, read_tensors, save_weights, write_tensors

LossFunction = Callable[[Any], dict[str, Tensor]]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn. `slow` parameters (pretrained ones) learn at `slow_factor` of the rate."""

    steps: int
    learning_rate: float = 1e-3
    warm_up: int = 200
    final_factor: float = 0.02
    slow_factor: float = 0.3
    weight_decay: float = 0.02
    clip_norm: float = 5.0
    ema_decay: float = 0.998
    save_every: int = 250

    def factor(self, step: int) -> float:
        """Learning-rate factor at a step: linear warm-up, then a cosine down to `final_factor`."""
        if step < self.warm_up:
            return (step + 1) / self.warm_up
        progress = min(1.0, (step - self.warm_up) / max(1, self.steps - self.warm_up))
        return self.final_factor + (1 - self.final_factor) * 0.5 * (1 + math.cos(math.pi * progress))


class NonFiniteLossError(TapetumError):
    """The loss or its gradient became NaN or infinite; the last checkpoint stays as it was saved."""


class Training:
    """A network on its way: weights, optimizer, moving average, step."""

    def __init__(self, network: nn.Module, slow: nn.Module, schedule: Schedule) -> None:
        self.network, self.schedule, self.step = network, schedule, 0
        self.names = [n for n, p in network.named_parameters() if p.requires_grad]
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        slow_ids = {id(p) for p in slow.parameters()}
        groups = [
            {"params": [p for p in self.parameters if id(p) not in slow_ids], "speed": 1.0},
            {"params": [p for p in self.parameters if id(p) in slow_ids], "speed": schedule.slow_factor},
        ]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=schedule.weight_decay)
        self.average = {k: v.detach().clone() for k, v in network.state_dict().items()}

    def update(self, losses: dict[str, Tensor]) -> float:
        """One optimizer step on the sum of the losses; returns it.

        Raises:
            NonFiniteLossError: before any weight is changed.
        """
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            named = ", ".join(f"{k} {v.item():.4g}" for k, v in losses.items())
            raise NonFiniteLossError(f"step {self.step}: the loss is not finite ({named}): lower --learning-rate")
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(total)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.schedule.clip_norm)
        if not torch.isfinite(norm):  # a finite loss may have such a gradient; one step with it spoils all weights
            raise NonFiniteLossError(f"step {self.step}: the gradient is not finite: lower --learning-rate")
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.learning_rate * group["speed"] * self.schedule.factor(self.step)
        self.optimizer.step()
        self.step += 1
        self._average()
        return total.item()

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.schedule.ema_decay, (1 + self.step) / (10 + self.step))
        for name, value in self.network.state_dict().items():
            self.average[name].lerp_(value, 1 - decay)

    def save(self, folder: Path, card: Card) -> None:
        """The averaged weights with their card, and all that `resume` needs."""
        card.step = self.step
        save_weights(folder, self.average, card)
        state = {f"weights.{k}": v for k, v in self.network.state_dict().items()}
        state |= {f"average.{k}": v for k, v in self.average.items()}
        for name, parameter in zip(self.names, self.parameters, strict=True):
            for key, value in self.optimizer.state[parameter].items():
                state[f"optimizer.{key}.{name}"] = value
        write_tensors(folder / STATE, state | {"step": torch.tensor(self.step)})

    def resume(self, folder: Path) -> None:
        """Continue from the state in a run folder."""
        state = read_tensors(folder / STATE)
        self.step = int(state.pop("step"))
        self.network.load_state_dict({k[8:]: v for k, v in state.items() if k.startswith("weights.")})
        self.average = {k[8:]: v for k, v in state.items() if k.startswith("average.")}
        for name, parameter in zip(self.names, self.parameters, strict=True):
            keys = [k for k in ("step", "exp_avg", "exp_avg_sq") if f"optimizer.{k}.{name}" in state]
            if keys:  # a frozen parameter has no state
                self.optimizer.state[parameter] = {k: state[f"optimizer.{k}.{name}"] for k in keys}


def train(training: Training, batches: Iterable[Any], loss_of: LossFunction, card: Card, folder: Path) -> None:
    """Run the schedule to its end, saving now and then; Ctrl-C saves and leaves.

    Losses go, averaged over 50 steps, to `log.jsonl` in the run folder.

    Raises:
        NonFiniteLossError: training went wrong; what was saved last stays.
        OSError: the run folder cannot be written.
    """
    schedule = training.schedule
    folder.mkdir(parents=True, exist_ok=True)
    bar = tqdm(total=schedule.steps, initial=training.step, unit="step", dynamic_ncols=True, mininterval=2.0)
    sums: dict[str, float] = {}
    started = time.monotonic()
    source = iter(batches)
    try:
        with (folder / "log.jsonl").open("a", encoding="utf-8") as log, bar:
            while training.step < schedule.steps:
                losses = loss_of(next(source))
                training.update(losses)
                bar.update()
                for name, value in losses.items():
                    sums[name] = sums.get(name, 0.0) + value.item() / 50
                if training.step % 50 == 0:
                    elapsed = round(time.monotonic() - started, 1)
                    log.write(json.dumps({"step": training.step, "elapsed_s": elapsed, **sums}) + "\n")
                    log.flush()
                    bar.set_postfix({k: f"{v:.3f}" for k, v in sums.items()})
                    sums = {}
                if training.step % schedule.save_every == 0:
                    training.save(folder, card)
    except NonFiniteLossError:
        raise  # without saving: the weights, or the statistics of normalization, may be spoilt already
    except BaseException:  # Ctrl-C, or an image that cannot be read: keep what was learnt
        if training.step:
            training.save(folder, card)
        raise
    training.save(folder, card)


def forever(loader: Iterable[Any], on_epoch: Callable[[int], None]) -> Iterator[Any]:
    """Batches without end; `on_epoch` is told each epoch's number before it begins."""
    for epoch in itertools.count():
        on_epoch(epoch)
        yield from loader
