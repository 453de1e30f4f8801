"""What every colorizer and every context network here promises. The recognizers' is `two_stage.TwoStage`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn

CONTEXT_SIZE = 1000  # the context vector: ImageNet logits
AB_RANGE = 110.0  # CIELAB a and b are written as -110..110


class ContextNetwork(nn.Module):
    """Luma float32[B, 1, S, S] in 0..1, S = `input_px`, to the scene's context vector float32[B, 1000]."""

    input_px: int

    def load_public(self, state: Mapping[str, Tensor]) -> None:
        """Take the weights of a state_dict as its authors publish it.

        Raises:
            KeyError: an entry is missing.
            RuntimeError: entries are missing or do not fit.
        """
        self.load_state_dict(state)


class ColourNetwork(nn.Module, ABC):
    """A colorizer.

    Attributes:
        loss: the loss that it is trained with unless another is asked for: a name in `training.losses.COLOUR_LOSSES`.
        uses_context: False where the context vector is accepted and ignored.
    """

    loss: str
    uses_context: bool = True

    @abstractmethod
    def forward(self, luma: Tensor, context: Tensor) -> Tensor:
        """ab float32[B, 2, H/2, W/2], CIELAB, -110..110, of luma float32[B, 1, H, W] in 0..1 and context [B, 1000].

        H and W are multiples of 32.
        """

    def logits(self, luma: Tensor, context: Tensor) -> Tensor:
        """Logits [B, 313, H/4, W/4] of the bins of `training.models.colour_bins`: of networks that classify."""
        raise TypeError(f"{type(self).__name__} gives ab, not classes")
