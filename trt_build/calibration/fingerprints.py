"""When two images are the same, byte for byte or to the eye."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge.types import UInt8Array

NEAR_BITS = 4  # of 64 that two hashes of the same picture may differ in, after scaling or JPEG


@dataclass(frozen=True)
class Fingerprint:
    """sha256 of a file's content, and its picture's difference hash, 64 bits."""

    sha256: str
    dhash: int


def fingerprint(content: bytes, luma: UInt8Array) -> Fingerprint:
    """Of a file's content and the picture in it, uint8[H, W]."""
    return Fingerprint(hashlib.sha256(content).hexdigest(), dhash(luma))


def dhash(luma: UInt8Array) -> int:
    """Difference hash: the picture at 9x8 px, and for each pixel whether the one to its right is brighter.

    Krawetz, "Kind of Like That", 2013.
    """
    small = cv2.resize(luma, (9, 8), interpolation=cv2.INTER_AREA)
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), "big")


class Known:
    """Fingerprints seen so far, each with the file that it is of."""

    def __init__(self, near_bits: int = NEAR_BITS) -> None:
        self._near_bits = near_bits
        self._files: list[Path] = []
        self._by_content: dict[str, Path] = {}
        self._hashes = np.empty(1024, np.uint64)

    def add(self, file: Path, print_: Fingerprint) -> None:
        """Remember a file."""
        count = len(self._files)
        if count == len(self._hashes):
            self._hashes = np.resize(self._hashes, 2 * count)
        self._hashes[count] = print_.dhash
        self._files.append(file)
        self._by_content.setdefault(print_.sha256, file)

    def like(self, print_: Fingerprint) -> Path | None:
        """A file of the same content or of nearly the same picture; None where there is none."""
        if print_.sha256 in self._by_content:
            return self._by_content[print_.sha256]
        differing = self._hashes[: len(self._files)] ^ np.uint64(print_.dhash)
        near = np.flatnonzero(_bits(differing) <= self._near_bits)
        return self._files[int(near[0])] if len(near) else None


def _bits(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """How many bits of each are set."""
    bits = np.unpackbits(values.view(np.uint8).reshape(-1, 8), axis=1)
    return np.asarray(bits.sum(axis=1), np.int64)
