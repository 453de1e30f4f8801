"""A checkpoint's networks, run by PyTorch behind the interface of a bundle's (`edge.vision.networks.Networks`).

Preprocessing is the runtime's own, so that a checkpoint and the bundle made of it are judged alike.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from edge.types import Detections, Float32Array, UInt8Array
from edge.vision.networks import detections_of
from edge.vision.preprocess import letterbox, squash
from training.checkpoint import load_network
from training.data.detection import PAD
from training.models.catalogue import build_context
from training.models.interfaces import CONTEXT_SIZE, ColourNetwork, ContextNetwork
from training.models.two_stage import TwoStage


class TrainedColorizer:
    """The colorizer of a run folder, with the context network that its card names."""

    def __init__(self, run: Path, context_weights: Path | None = None) -> None:
        """Load both.

        Args:
            context_weights: of the context network, where no package brings them.

        Raises:
            InputError: the checkpoint or the weights cannot be read.
        """
        network, self.card = load_network(run, "colorizer")
        assert isinstance(network, ColourNetwork)
        self._network = network
        self._context: ContextNetwork | None = None
        if network.uses_context:
            self._context = build_context(self.card.context, context_weights)

    def context(self, luma: UInt8Array) -> Float32Array:
        """The scene's context vector, float32[1, 1000], of a frame uint8[H, W]; zeros for a network without one."""
        if self._context is None:
            return np.zeros((1, CONTEXT_SIZE), np.float32)
        side = self._context.input_px
        with torch.inference_mode():
            vector = self._context(torch.from_numpy(squash(luma, (side, side))))
        return np.asarray(vector.numpy(), np.float32)

    def colour(self, luma: UInt8Array, context: Float32Array) -> Float32Array:
        """ab float32[2, h, w], CIELAB, of a frame uint8[H, W] and its scene's context vector."""
        side = self.card.input_size
        with torch.inference_mode():
            ab = self._network(torch.from_numpy(squash(luma, (side, side))), torch.from_numpy(context))
        return np.asarray(ab[0].numpy(), np.float32)


class TrainedRecognizer:
    """The recognizer of a run folder."""

    def __init__(self, run: Path) -> None:
        """Load it.

        Raises:
            InputError: the checkpoint cannot be read.
        """
        network, self.card = load_network(run, "recognizer")
        assert isinstance(network, TwoStage)
        self._network = network
        self.labels = tuple(self.card.labels)

    def detect(self, luma: UInt8Array, min_score: float = 0.05) -> Detections:
        """Objects in a frame uint8[H, W], as `edge.vision.networks.Networks.detect` tells them."""
        image, place = letterbox(luma, (self._network.height, self._network.width), PAD / 255)
        with torch.inference_mode():
            boxes, scores, labels = (output[0].numpy() for output in self._network(torch.from_numpy(image)))
        return detections_of(boxes, scores, labels, place, min_score)
