"""Colour photographs for the colorizer: folders of images, a held-out share, near-duplicates kept apart."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from edge.errors import InputError
from edge.types import Float32Array, UInt8Array
from training.data.nir import luma_of, nir_like

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
HELD_OUT_PERCENT = 15
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """Files to train on and files never to train on."""

    train: list[Path]
    held_out: list[Path]


def list_images(folders: Iterable[Path]) -> list[Path]:
    """All image files under the folders, sorted.

    Raises:
        InputError: a folder is missing, or none of them holds an image.
    """
    files: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder")
        files += sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"no image ({', '.join(sorted(SUFFIXES))}) in {', '.join(map(str, folders))}")
    return files


def read_rgb(path: Path) -> UInt8Array:
    """uint8[H, W, 3] RGB.

    Raises:
        InputError: not a readable image.
    """
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise InputError(f"{path}: not a readable image")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def is_held_out(name: str) -> bool:
    """Whether a file of this name belongs to the held-out share: decided by its name alone, so it never moves."""
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100 < HELD_OUT_PERCENT


def split_images(files: Sequence[Path], never: Sequence[Path] = ()) -> Split:
    """Hold out a share of `files`; drop from the rest what looks like a held-out image or one of `never`."""
    held_out = [f for f in files if is_held_out(f.name)]
    train = [f for f in files if not is_held_out(f.name)]
    return Split(without_duplicates(train, [*held_out, *never]), held_out)


def without_duplicates(files: Sequence[Path], of: Sequence[Path], *, distance: int = 6) -> list[Path]:
    """Drop the files whose difference hash lies within `distance` bits of an image in `of`; unreadable ones too."""
    known = [h for h in map(difference_hash, of) if h is not None]
    against = np.array(known, np.uint8).reshape(-1, 64)
    kept = []
    for file in files:
        value = difference_hash(file)
        if value is None:
            log.warning("%s: not a readable image, skipped", file)
        elif not len(against) or int((against != value).sum(axis=1).min()) > distance:
            kept.append(file)
    return kept


def difference_hash(path: Path) -> UInt8Array | None:
    """uint8[64] of 0 and 1: whether each cell of a 9x8 grey thumbnail is brighter than its neighbour (dHash)."""
    grey = cv2.imread(str(path), cv2.IMREAD_REDUCED_GRAYSCALE_2)
    if grey is None:
        return None
    small = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    return (small[:, 1:] > small[:, :-1]).ravel().astype(np.uint8)


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
