"""The processes of one training: one, or those that torchrun started, each with a slice of every batch.

What every process does is in lock step. Where one alone may fail or be stopped (reading images, Ctrl-C), all of them
hear of it before the next collective operation, so that none waits for one that is gone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from edge.errors import TapetumError


class PeerError(TapetumError):
    """Another process of this training failed, and says why; this one has nothing to add (an empty message)."""


@dataclass(frozen=True)
class Ranks:
    """This process's place among all."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files, logs and bars."""
        return self.rank == 0

    @contextmanager
    def together(self) -> Iterator[None]:
        """A block that every process enters; an error in one ends it for all.

        Raises:
            PeerError: the block failed in another process. (Where it fails in several, the lowest rank speaks.)
        """
        error: Exception | None = None
        try:
            yield
        except Exception as caught:
            error = caught
        failed = self._reduced(self.world if error is None else self.rank, distributed.ReduceOp.MIN)
        if error is not None and failed == self.rank:
            raise error
        if failed < self.world:
            raise PeerError

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in any process."""
        return bool(self._reduced(int(flag), distributed.ReduceOp.MAX))

    def mean(self, values: Tensor) -> list[float]:
        """Elementwise mean of every process's values [N]."""
        total = values.detach().double().cpu()
        if self.world > 1:
            distributed.all_reduce(total)
        return [float(value) for value in total / self.world]

    def gathered(self, item: Any) -> list[Any]:
        """Every process's item, in the order of ranks, for the first process; nothing for the others."""
        if self.world == 1:
            return [item]
        items = [None] * self.world if self.first else None
        distributed.gather_object(item, items)
        return items or []

    def share(self, module: nn.Module, device: torch.device, *, frozen: bool = False) -> nn.Module:
        """The module with its gradients averaged over all processes; `frozen` says that some parameters get none."""
        if self.world == 1:
            return module
        devices = [device] if device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=devices, find_unused_parameters=frozen)

    def _reduced(self, value: int, how: distributed.ReduceOp.RedOpType) -> int:
        if self.world == 1:
            return value
        tensor = torch.tensor(value)
        distributed.all_reduce(tensor, how)
        return int(tensor)


def local_rank() -> int:
    """This process's number on this machine, as torchrun says; 0 without it."""
    return int(os.environ.get("LOCAL_RANK", 0))


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Meet the other processes that torchrun started, if it did.

    Tensors on the CPU go by gloo, also where those on GPUs go by NCCL: agreeing on a step never waits for a GPU.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield Ranks()
        return
    distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
