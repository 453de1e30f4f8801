"""Which images each step learns from: decided by seed, epoch and place alone, however often a run is resumed.

The order of an epoch is the same whatever the number of processes and wherever a run begins; each process takes its
slice of every global batch. Batches run on over the ends of epochs, so that no image is left out.
"""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from training.learning.ranks import Ranks

Draw = tuple[int, int]  # step, index of the image


class Images(Protocol):
    """A data set whose item is rendered anew, reproducibly, for each value of `epoch`."""

    epoch: int

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...


def seed_of(*parts: int) -> int:
    """A 64-bit seed of several whole numbers; neighbours give unrelated ones."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


def epoch_order(draws: Tensor, seed: int, epoch: int) -> list[int]:
    """The N indices of an epoch, shuffled, each as often as its weight `draws` float64[N] says.

    Systematic sampling: an image whose share is 1.3 comes once or twice, and with equal weights each comes once.
    """
    generator = torch.Generator().manual_seed(seed_of(seed, epoch))
    offset = torch.rand(1, generator=generator, dtype=torch.float64).clamp(1e-6, 1 - 1e-6)
    ends = torch.floor(draws.cumsum(0) / draws.sum() * len(draws) + offset).long()
    indices = torch.arange(len(draws)).repeat_interleave(ends.diff(prepend=ends.new_zeros(1)))
    return indices[torch.randperm(len(indices), generator=generator)].tolist()


@dataclass(frozen=True)
class Batches:
    """The batches of one process, from step `start` to the last: a batch sampler for `DataLoader`.

    Args:
        draws: float64[N], how often each image is drawn, in any unit.
        size: of the global batch; a multiple of the number of processes.
    """

    draws: Tensor
    size: int
    seed: int
    start: int
    steps: int
    ranks: Ranks

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[list[Draw]]:
        images, share = len(self.draws), self.size // self.ranks.world
        epoch, order = -1, list[int]()
        for step in range(self.start, self.steps):
            batch = []
            for place in range(step * self.size, (step + 1) * self.size):
                if place // images != epoch:
                    epoch = place // images
                    order = epoch_order(self.draws, self.seed, epoch)
                batch.append((step, order[place % images]))
            yield batch[self.ranks.rank * share :][:share]


class Drawn(Dataset[Any]):
    """A data set by draws: the step seeds the rendering, so an image drawn twice in an epoch looks different."""

    def __init__(self, images: Images) -> None:
        self.images = images

    def __getitem__(self, draw: Draw) -> Any:
        self.images.epoch, index = draw
        return self.images[index]


def loader(
    images: Images, batches: Batches, *, workers: int, collate: Callable[[list[Any]], Any] | None, pin: bool
) -> DataLoader[Any]:
    """Batches read and rendered by `workers` processes (0: by this one), in page-locked memory if `pin`."""
    return DataLoader(
        Drawn(images),
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin,
        worker_init_fn=_ignore_interrupts,
    )


def moved(batch: Any, device: torch.device) -> Any:
    """A batch (tensors in tuples, lists and dataclasses) on a device."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        fields = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
        return dataclasses.replace(batch, **{name: moved(value, device) for name, value in fields.items()})
    return type(batch)(moved(part, device) for part in batch)


def named_tensors(batch: Any, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of a batch by their place in it: "0", "1.3.boxes"."""
    if isinstance(batch, Tensor):
        return {prefix: batch}
    parts = enumerate(batch) if isinstance(batch, list | tuple) else vars(batch).items()
    named: dict[str, Tensor] = {}
    for name, part in parts:
        named |= named_tensors(part, f"{prefix}.{name}" if prefix else str(name))
    return named


def _ignore_interrupts(_: int) -> None:
    """Ctrl-C reaches all processes of a terminal; the training one decides when its readers end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
