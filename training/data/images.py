"""Image files: finding and reading them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from edge.errors import InputError
from edge.types import UInt8Array

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


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
