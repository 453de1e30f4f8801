"""Batch normalisation over the batches of all processes.

torch's own SyncBatchNorm does this on GPUs only; this one does it wherever collective operations run.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm


class _Sum(torch.autograd.Function):
    """Over all processes, forwards and backwards."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        distributed.all_reduce(total)
        return total


def _sum(values: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return total


class SharedBatchNorm(_BatchNorm):
    """Takes the place of BatchNorm1d or 2d: the same parameters, the statistics of the global batch [B, C, ...].

    Every process holds equally much of the batch.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalised x; in evaluation mode by the running statistics."""
        if not self.training:
            normalised: Tensor = super().forward(x)
            return normalised
        over = [axis for axis in range(x.dim()) if axis != 1]
        shape = [1, -1] + [1] * (x.dim() - 2)
        world = distributed.get_world_size()
        mean = _sum(x.float().mean(over)) / world
        centred = x.float() - mean.view(shape)
        variance = _sum(centred.square().mean(over)) / world
        self._track(mean.detach(), variance.detach(), x.numel() // x.shape[1] * world)
        y = centred * torch.rsqrt(variance + self.eps).view(shape)
        y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(x.dtype)

    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)

    def _check_input_dim(self, _: Tensor) -> None:
        """Of any number of dimensions."""


def share_batch_norm(network: nn.Module) -> None:
    """Let every batch normalisation of a network see the global batch."""
    for name, child in network.named_children():
        if isinstance(child, _BatchNorm):
            shared = SharedBatchNorm(child.num_features, child.eps, child.momentum)
            shared.weight, shared.bias = child.weight, child.bias
            shared.load_state_dict(child.state_dict())
            setattr(network, name, shared.to(child.weight.device).train(child.training))
        else:
            share_batch_norm(child)
