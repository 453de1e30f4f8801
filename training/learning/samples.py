"""Sample sheets: what a network makes of a few images that it did not learn from. One row an image.

Colorizer: input, result, truth. Recognizer: what it found, and what is there; a number is a score.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from edge.errors import InputError
from edge.preprocess import letterbox, squash
from edge.types import Float32Array, UInt8Array
from training.data.detection import PAD, Record
from training.data.images import read_rgb
from training.data.nir import luma_of
from training.models.interfaces import ContextNetwork

ROWS = 6
COLOUR_PX = 256
SURE = 0.5  # detections below this score are not drawn
FOUND, TRUE = (80, 255, 120), (255, 200, 60)
log = logging.getLogger(__name__)


class ColourSheet:
    """Sample sheet of a colorizer, over photographs."""

    def __init__(self, files: Sequence[Path], context_network: ContextNetwork, device: torch.device) -> None:
        self.photographs = [rgb for rgb in map(_read, _spread(files)) if rgb is not None]
        self.context_network, self.device = context_network, device

    def __call__(self, network: nn.Module) -> UInt8Array | None:
        """uint8[H, W, 3] RGB; None where no photograph can be read."""
        rows = [self._row(network, rgb) for rgb in self.photographs]
        return np.concatenate(rows) if rows else None

    def _row(self, network: nn.Module, rgb: UInt8Array) -> UInt8Array:
        size = (COLOUR_PX, COLOUR_PX)
        truth = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
        luma = luma_of(truth)
        side = self.context_network.input_px
        whole = squash(luma_of(rgb), (side, side))
        context = self.context_network(torch.from_numpy(whole).to(self.device))
        ab = network(torch.from_numpy(squash(luma, size)).to(self.device), context)[0]
        grey = cv2.cvtColor(luma, cv2.COLOR_GRAY2RGB)
        return np.concatenate([grey, coloured(luma, ab.float().cpu().numpy()), truth], axis=1).astype(np.uint8)


def coloured(luma: UInt8Array, ab: Float32Array) -> UInt8Array:
    """RGB uint8[H, W, 3] of luma uint8[H, W] and CIELAB ab float32[2, h, w], enlarged linearly."""
    grey = cv2.cvtColor(luma, cv2.COLOR_GRAY2RGB).astype(np.float32) / 255.0
    lab = cv2.cvtColor(grey, cv2.COLOR_RGB2Lab)
    lab[..., 1:] = cv2.resize(ab.transpose(1, 2, 0), luma.shape[::-1], interpolation=cv2.INTER_LINEAR)
    rgb = cv2.cvtColor(lab, cv2.COLOR_Lab2RGB)
    return np.asarray(np.rint(rgb.clip(0, 1) * 255.0), np.uint8)


class DetectionSheet:
    """Sample sheet of a recognizer, over annotated images."""

    def __init__(self, records: Sequence[Record], labels: Sequence[str], input_px: int, device: torch.device) -> None:
        read = [(_read(record.path), record) for record in _spread(records)]
        self.images = [(rgb, record) for rgb, record in read if rgb is not None]
        self.labels, self.input_px, self.device = labels, input_px, device

    def __call__(self, network: nn.Module) -> UInt8Array | None:
        """uint8[H, W, 3] RGB; None where no image can be read."""
        rows = [self._row(network, rgb, record) for rgb, record in self.images]
        return np.concatenate(rows) if rows else None

    def _row(self, network: nn.Module, rgb: UInt8Array, record: Record) -> UInt8Array:
        luma, place = letterbox(luma_of(rgb), (self.input_px, self.input_px), PAD / 255)
        boxes, scores, labels = (t[0].float().cpu().numpy() for t in network(torch.from_numpy(luma).to(self.device)))
        grey = cv2.cvtColor(np.rint(luma[0, 0] * 255).astype(np.uint8), cv2.COLOR_GRAY2RGB)
        scale = place.inner[1] / place.frame[1], place.inner[0] / place.frame[0]
        found, true = grey.copy(), grey.copy()
        for box, score, label in zip(boxes, scores, labels, strict=True):
            if score >= SURE:
                _draw(found, box, f"{self.labels[int(label)]} {score:.2f}", FOUND)
        for box, label, weight in zip(record.boxes * (scale * 2), record.labels, record.weights, strict=True):
            if weight > 0:
                _draw(true, box, self.labels[int(label)], TRUE)
        return np.concatenate([found, true], axis=1)


def _draw(image: UInt8Array, box: Float32Array, text: str, colour: tuple[int, int, int]) -> None:
    left, top, right, bottom = (round(float(side)) for side in box)
    cv2.rectangle(image, (left, top), (right, bottom), colour, 1)
    cv2.putText(image, text, (left + 2, max(10, top - 3)), cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1, cv2.LINE_AA)


def _read(path: Path) -> UInt8Array | None:
    try:
        return read_rgb(path)
    except InputError as error:
        log.warning("%s, not on the sample sheet", error)
        return None


def _spread(items: Sequence[Path] | Sequence[Record]) -> list[Any]:
    """`ROWS` of the items, evenly over their order."""
    return [items[i * len(items) // ROWS] for i in range(ROWS)] if len(items) > ROWS else list(items)
