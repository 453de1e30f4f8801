"""Colour photographs for the colorizer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from edge.errors import InputError
from edge.types import Float32Array, UInt8Array
from training.data.images import read_rgb
from training.data.nir import luma_of, nir_like

log = logging.getLogger(__name__)


class ColourCrops(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Random crops for the colorizer, each with the context network's view of the whole photograph.

    Item: luma float32[1, S, S] in 0..1; whole float32[1, 224, 224], the same rendering of the whole photograph;
    ab float32[2, S/2, S/2], CIELAB. A share of the items (`nir`) is rendered as near infrared.
    """

    def __init__(self, files: Sequence[Path], crop_px: int, *, nir: float = 0.5, seed: int = 0) -> None:
        self.files, self.crop_px, self.nir, self.seed = list(files), crop_px, nir, seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        rng = np.random.default_rng((self.seed, self.epoch, index))
        rgb = self._read(index)
        if rng.random() < 0.5:
            rgb = rgb[:, ::-1]
        # The runtime squashes a frame to 256x256; vary that scale and the squash a little.
        sides = rng.uniform(0.9, 1.35) * 256 * np.exp(rng.uniform(-0.12, 0.12, 2))
        width, height = np.maximum(sides.astype(int), self.crop_px)
        rgb = np.asarray(cv2.resize(rgb, (int(width), int(height)), interpolation=cv2.INTER_AREA), np.uint8)
        luma = nir_like(rgb, rng) if rng.random() < self.nir else luma_of(rgb)
        top, left = rng.integers(0, height - self.crop_px + 1), rng.integers(0, width - self.crop_px + 1)
        window = np.s_[top : top + self.crop_px, left : left + self.crop_px]
        whole = np.asarray(cv2.resize(luma, (224, 224), interpolation=cv2.INTER_AREA), np.uint8)
        return _to_tensor(luma[window]), _to_tensor(whole), torch.from_numpy(target_ab(rgb[window]))

    def _read(self, index: int) -> UInt8Array:
        try:
            return read_rgb(self.files[index])
        except InputError as error:
            log.warning("%s, skipped", error)
            return read_rgb(self.files[(index + 1) % len(self.files)])


def target_ab(rgb: UInt8Array) -> Float32Array:
    """CIELAB a and b, float32[2, H/2, W/2], of uint8[H, W, 3] RGB, averaged over 2x2 pixels."""
    lab = cv2.cvtColor(rgb.astype(np.float32) / 255.0, cv2.COLOR_RGB2Lab)
    half = cv2.resize(lab[..., 1:], (rgb.shape[1] // 2, rgb.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(half.transpose(2, 0, 1), np.float32)


def _to_tensor(grey: UInt8Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(grey)).float().div_(255.0)[None]
