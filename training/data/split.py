"""What is learnt from and what is held out: decided by file name, with near-duplicates kept apart."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge.errors import InputError
from edge.types import UInt8Array
from training.data.images import read_half_grey

HELD_OUT_PERCENT = 15
HASH_DISTANCE = 6  # bits of 64 up to which two photographs count as the same one
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """Files to train on and files never to train on."""

    train: list[Path]
    held_out: list[Path]


def is_held_out(name: str) -> bool:
    """Whether a file of this name belongs to the held-out share: decided by its name alone, so it never moves."""
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:4], "big") % 100 < HELD_OUT_PERCENT


def split_images(files: Sequence[Path], never: Sequence[Path] = ()) -> Split:
    """Hold out a share of `files`; drop from the rest what looks like a held-out image or one of `never`."""
    held_out = [f for f in files if is_held_out(f.name)]
    train = [f for f in files if not is_held_out(f.name)]
    return Split(without_duplicates(train, [*held_out, *never]), held_out)


def without_duplicates(files: Sequence[Path], of: Sequence[Path], *, distance: int = HASH_DISTANCE) -> list[Path]:
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
    """`hash_of` an image file; None when it cannot be read."""
    try:
        return hash_of(read_half_grey(path))
    except InputError:
        return None


def hash_of(grey: UInt8Array) -> UInt8Array:
    """uint8[64] of 0 and 1: whether each cell of a 9x8 thumbnail of grey uint8[H, W] is brighter than its neighbour.

    The difference hash (dHash): near-duplicates differ in a few bits.
    """
    small = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    return (small[:, 1:] > small[:, :-1]).ravel().astype(np.uint8)
