"""The losses of the colorizers, by name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.models.colour_bins import bins, rebalancing, soft_encode
from training.models.interfaces import AB_RANGE, CONTEXT_SIZE, ColourNetwork, ContextNetwork

COLOUR_LOSSES = ("mse", "smooth_l1", "weighted", "classes")


class ColourLosses(nn.Module):
    """The loss of a colorizer that sees the scene through a frozen context network.

    Args:
        network: in training mode.
        context_network: takes no part in training: no gradient, always in evaluation mode.
        loss: of `COLOUR_LOSSES`; the network's own if absent. "classes" needs a network with `logits`.
        prior: share of each colour bin in the training photographs, float32[313], for "classes" (see
            `colour_bins.colour_prior`).
    """

    weights: Tensor
    centres: Tensor

    def __init__(
        self,
        network: ColourNetwork,
        context_network: ContextNetwork,
        *,
        loss: str | None = None,
        prior: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.network, self.loss = network, loss or network.loss
        self.context_network = context_network.requires_grad_(False).eval()
        if self.loss not in COLOUR_LOSSES:
            raise ValueError(f"unknown loss {self.loss!r}: {', '.join(COLOUR_LOSSES)}")
        if self.loss == "classes":
            if prior is None:
                raise ValueError("the loss 'classes' needs the prior of the training photographs")
            self.register_buffer("weights", rebalancing(prior), persistent=False)
            self.register_buffer("centres", bins(), persistent=False)

    def train(self, mode: bool = True) -> ColourLosses:
        """Training mode for all but the context network."""
        super().train(mode)
        self.context_network.eval()
        return self

    def forward(self, luma: Tensor, whole: Tensor, ab: Tensor) -> dict[str, Tensor]:
        """The loss float32[], named "colour", a mean over the batch.

        Args:
            luma: [B, 1, H, W] in 0..1.
            whole: [B, 1, S, S], the photographs that `luma` is cut from, at the context network's own size.
            ab: [B, 2, H/2, W/2], the truth, CIELAB.
        """
        context = self._context(whole)
        if self.loss == "classes":
            logits = self.network.logits(luma, context).float()
            return {"colour": class_loss(logits, ab, self.centres, self.weights)}
        return {"colour": _REGRESSION[self.loss](self.network(luma, context).float(), ab)}

    @torch.no_grad()
    def _context(self, whole: Tensor) -> Tensor:
        if not self.network.uses_context:
            return whole.new_zeros(len(whole), CONTEXT_SIZE)
        context: Tensor = self.context_network(whole)
        return context


def mse(predicted: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error on ab [B, 2, H, W], scaled to -1..1: the paper's, and Iizuka's."""
    return F.mse_loss(predicted / AB_RANGE, truth / AB_RANGE)


def smooth_l1(predicted: Tensor, truth: Tensor) -> Tensor:
    """Smooth L1 on ab [B, 2, H, W] (CIELAB units): leans to the median of the plausible colours, not their mean."""
    return F.smooth_l1_loss(predicted, truth, beta=4.0) / 10.0


def weighted(predicted: Tensor, truth: Tensor) -> Tensor:
    """Smooth L1 on ab [B, 2, H, W] (CIELAB units), heavier where the truth has much chroma.

    Plain MSE settles on the mean of all plausible colours, which is brown (Zhang et al., 2016); smooth L1 leans to
    the median, and the weight (1 at grey, 4 at chroma 60 and above) keeps rare vivid colours from being outvoted.
    """
    chroma = truth.square().sum(dim=1, keepdim=True).sqrt()
    weight = 1.0 + chroma.clamp(max=60.0) / 20.0
    error = F.smooth_l1_loss(predicted, truth, beta=4.0, reduction="none")
    return (weight * error).mean() / 10.0


def class_loss(logits: Tensor, truth: Tensor, centres: Tensor, weights: Tensor) -> Tensor:
    """Rebalanced cross entropy over the colour bins (Zhang et al., 2016, equation 2), a mean over positions.

    Args:
        logits: [B, 313, h, w]; truth: ab [B, 2, H, W], averaged down to h x w and encoded softly.
        centres: [313, 2]; weights: [313], a position has that of the bin nearest to its truth.
    """
    index, share = soft_encode(F.interpolate(truth, size=logits.shape[-2:], mode="area"), centres)
    log_probability = F.log_softmax(logits, dim=1).gather(1, index)
    cross_entropy = -(share * log_probability).sum(dim=1)
    return (weights[index[:, 0]] * cross_entropy).mean()


_REGRESSION: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": mse,
    "smooth_l1": smooth_l1,
    "weighted": weighted,
}
