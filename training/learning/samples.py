"""Sample sheets: what a network makes of a few images that it did not learn from. One row an image.

Colorizer: input, result, truth. Recognizer: what it found (a number is a score), and what people boxed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edge.errors import InputError
from edge.types import UInt8Array
from edge.vision.preprocess import letterbox, squash
from training.data.detection import PAD, Record
from training.data.images import read_rgb
from training.data.nir import luma_of
from training.judging.judge import coloured, grey_copy
from training.models.interfaces import ContextNetwork
from training.tiles import draw_boxes, fit, table

ROWS = 6
COLOUR_PX = 256  # side of the colorizer's input
COLOUR_TILE_PX, BOXES_TILE_PX = (288, 384), (432, 576)  # (height, width) that a picture fits
SURE = 0.5  # detections below this score are not drawn
FOUND, TRUE = (80, 255, 120), (255, 200, 60)
log = logging.getLogger(__name__)


class ColourSheet:
    """Sample sheet of a colorizer, over photographs."""

    def __init__(self, files: Sequence[Path], context_network: ContextNetwork, device: torch.device) -> None:
        read = [(file.name, _read(file)) for file in _spread(files)]
        self.photographs = [(name, fit(rgb, *COLOUR_TILE_PX)) for name, rgb in read if rgb is not None]
        self.context_network, self.device = context_network, device

    def __call__(self, network: nn.Module) -> UInt8Array | None:
        """uint8[H, W, 3] RGB; None where no photograph can be read."""
        rows = [(name, self._row(network, rgb)) for name, rgb in self.photographs]
        return table(("input", "result", "truth"), rows) if rows else None

    def _row(self, network: nn.Module, truth: UInt8Array) -> list[UInt8Array]:
        luma, side = luma_of(truth), self.context_network.input_px
        whole, crop = (torch.from_numpy(squash(luma, (px, px))).to(self.device) for px in (side, COLOUR_PX))
        ab = network(crop, self.context_network(whole))[0].float().cpu().numpy()
        return [grey_copy(luma), coloured(luma, ab), truth]


class DetectionSheet:
    """Sample sheet of a recognizer, over annotated images."""

    def __init__(self, records: Sequence[Record], labels: Sequence[str], input_px: int, device: torch.device) -> None:
        read = [(_read(record.path), record) for record in _spread(records)]
        self.images = [(luma_of(rgb), record) for rgb, record in read if rgb is not None]
        self.labels, self.input_px, self.device = labels, input_px, device

    def __call__(self, network: nn.Module) -> UInt8Array | None:
        """uint8[H, W, 3] RGB; None where no image can be read."""
        rows = [(record.path.name, self._row(network, luma, record)) for luma, record in self.images]
        return table((f"found, score from {SURE}", "boxed by people"), rows) if rows else None

    def _row(self, network: nn.Module, luma: UInt8Array, record: Record) -> list[UInt8Array]:
        inputs, place = letterbox(luma, (self.input_px, self.input_px), PAD / 255)
        boxes, scores, labels = (
            t[0].float().cpu().numpy() for t in network(torch.from_numpy(inputs).to(self.device))
        )
        found = grey_copy(fit(luma, *BOXES_TILE_PX))
        true = found.copy()
        to_tile = np.array([found.shape[1] / luma.shape[1], found.shape[0] / luma.shape[0]] * 2, np.float32)
        sure = [i for i in np.argsort(-scores) if scores[i] >= SURE]
        texts = [f"{self.labels[int(labels[i])]} {scores[i]:.2f}" for i in sure]
        draw_boxes(found, place.boxes_to_frame(boxes[sure]) * to_tile, texts, FOUND)
        texts = [self.labels[int(label)] for label in record.labels[record.human]]
        draw_boxes(true, record.boxes[record.human] * to_tile, texts, TRUE)
        return [found, true]


def _read(path: Path) -> UInt8Array | None:
    try:
        return read_rgb(path)
    except InputError as error:
        log.warning("%s, not on the sample sheet", error)
        return None


def _spread(items: Sequence[Path] | Sequence[Record]) -> list[Any]:
    """`ROWS` of the items, evenly over their order."""
    return [items[i * len(items) // ROWS] for i in range(ROWS)] if len(items) > ROWS else list(items)
