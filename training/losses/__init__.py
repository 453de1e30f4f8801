"""The losses: modules around a network, so that forward pass and loss can be wrapped together."""

from training.losses.colour import COLOUR_LOSSES, ColourLosses
from training.losses.detection import RecognizerLosses

__all__ = ["COLOUR_LOSSES", "ColourLosses", "RecognizerLosses"]
