"""Image files: finding them in folders and text lists, and reading them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from edge.errors import InputError
from edge.media import listed
from edge.types import UInt8Array

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
GREY_SPREAD = 10  # 8-bit levels between the channels: JPEG and scanners leave some in grey pictures

log = logging.getLogger(__name__)

_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_TAIL = 4096  # bytes in which a JPEG's end marker must lie; some cameras append data of their own


def list_images(folders: Iterable[Path]) -> list[Path]:
    """All image files under the folders, sorted.

    Raises:
        InputError: a folder is missing, or none of them holds an image.
    """
    folders = list(folders)
    files: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder")
        files += images_under(folder)
    if not files:
        raise InputError(f"no image ({', '.join(sorted(SUFFIXES))}) in {', '.join(map(str, folders))}")
    return files


def images_under(folder: Path) -> list[Path]:
    """The image files under a folder, sorted; none is no error."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)


def read_list(path: Path, *, skip_missing: bool = False) -> list[Path]:
    """The files that a text list names: one path a line, absolute or relative to the list's folder.

    Empty lines and lines that begin with # are passed over.

    Raises:
        InputError: not a readable text file, it names nothing, or a file that it names is missing. (With
            `skip_missing` that is a warning, unless all are.)
    """
    files = [path.parent / line for line in listed(path)]
    if missing := dict.fromkeys(file for file in files if not file.is_file()):
        named = ", ".join(map(str, list(missing)[:3])) + (", ..." if len(missing) > 3 else "")
        message = f"{path}: {len(missing)} of its {len(files)} images are missing: {named}"
        if not skip_missing or len(missing) == len(files):
            raise InputError(message)
        log.warning("%s", message)
    return [file for file in files if file not in missing]


def find_images(source: Path, *, skip_missing: bool = False) -> list[Path]:
    """The images of a folder, or those that a text list names; see `list_images` and `read_list`."""
    return list_images([source]) if source.is_dir() else read_list(source, skip_missing=skip_missing)


def read_rgb(path: Path, *, reduced: int = 1) -> UInt8Array:
    """uint8[H, W, 3] RGB, as it is meant to be looked at (EXIF orientation applied).

    Args:
        reduced: 2, 4 or 8 reads at that part of the size, which for JPEG is much faster.

    Raises:
        InputError: not a readable image, or not a whole one.
    """
    flags = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}
    flags[8] = cv2.IMREAD_REDUCED_COLOR_8
    return np.asarray(cv2.cvtColor(_decoded(path, flags[reduced]), cv2.COLOR_BGR2RGB), np.uint8)


def read_half_grey(path: Path) -> UInt8Array:
    """uint8[H/2, W/2], grey: quick to read.

    Raises:
        InputError: not a readable image, or not a whole one.
    """
    return _decoded(path, cv2.IMREAD_REDUCED_GRAYSCALE_2)


def _decoded(path: Path, flags: int) -> UInt8Array:
    try:
        content = path.read_bytes()
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if _is_whole(content) else None
    except OSError as error:
        raise InputError(f"{path}: cannot read the image: {error.strerror}") from error
    except cv2.error as error:
        raise InputError(f"{path}: cannot decode the image: {error.err}") from error
    if image is None:
        raise InputError(f"{path}: not an image, or cut short")
    return np.asarray(image, np.uint8)


def is_grey(rgb: UInt8Array) -> bool:
    """Whether a photograph uint8[H, W, 3] has no colour to learn: R, G and B nearly equal at 98 % of its pixels."""
    spread = rgb.max(axis=2) - rgb.min(axis=2)
    return float(np.percentile(spread, 98)) < GREY_SPREAD


def _is_whole(content: bytes) -> bool:
    """False for an empty file, and for a JPEG or PNG without its end: decoders may fill up what is missing."""
    if content.startswith(_JPEG):
        return b"\xff\xd9" in content[-_TAIL:]
    return b"IEND" in content if content.startswith(_PNG) else bool(content)
