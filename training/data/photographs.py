"""Colour photographs for the colorizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from edge.types import Float32Array, UInt8Array
from edge.vision.preprocess import squash
from training.data.nir import luma_of, nir_like
from training.data.reading import Reader, with_colour


class ColourCrops(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Random crops for the colorizer, each with the context network's view of the whole photograph.

    Item: luma float32[1, S, S] in 0..1; whole float32[1, C, C], the same rendering of the whole photograph;
    ab float32[2, S/2, S/2], CIELAB. A share of the items (`nir`) is rendered as near infrared.
    """

    def __init__(
        self, files: Sequence[Path], crop_px: int, *, nir: float = 0.5, seed: int = 0, context_px: int = 224
    ) -> None:
        """Look through the files, and keep those that are colour photographs.

        Args:
            files: photographs; broken and grey ones are told and passed over.
            crop_px: side S of a crop.
            nir: share of the items that are rendered as near infrared, 0..1.
            context_px: side C of the context network's input.

        Raises:
            InputError: none of the files is a colour photograph.
        """
        self.files = with_colour(files)
        self.crop_px, self.nir, self.seed, self.context_px = crop_px, nir, seed, context_px
        self.epoch = 0
        self._reader = Reader(self.files)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        rng = np.random.default_rng((self.seed, self.epoch, index))
        _, rgb = self._reader.read(index)
        if rng.random() < 0.5:
            rgb = rgb[:, ::-1]
        # The runtime squashes a frame to 256x256; vary that scale and the squash a little.
        sides = rng.uniform(0.9, 1.35) * 256 * np.exp(rng.uniform(-0.12, 0.12, 2))
        width, height = np.maximum(sides.astype(int), self.crop_px)
        rgb = np.asarray(cv2.resize(rgb, (int(width), int(height)), interpolation=cv2.INTER_AREA), np.uint8)
        luma = nir_like(rgb, rng) if rng.random() < self.nir else luma_of(rgb)
        top, left = rng.integers(0, height - self.crop_px + 1), rng.integers(0, width - self.crop_px + 1)
        window = np.s_[top : top + self.crop_px, left : left + self.crop_px]
        whole = torch.from_numpy(squash(luma, (self.context_px, self.context_px))[0])
        return _to_tensor(luma[window]), whole, torch.from_numpy(target_ab(rgb[window]))


def target_ab(rgb: UInt8Array) -> Float32Array:
    """CIELAB a and b, float32[2, H/2, W/2], of uint8[H, W, 3] RGB, averaged over 2x2 pixels."""
    lab = cv2.cvtColor(rgb.astype(np.float32) / 255.0, cv2.COLOR_RGB2Lab)
    half = cv2.resize(lab[..., 1:], (rgb.shape[1] // 2, rgb.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(half.transpose(2, 0, 1), np.float32)


def _to_tensor(grey: UInt8Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(grey)).float().div_(255.0)[None]
