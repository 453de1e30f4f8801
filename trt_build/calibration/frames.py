"""Frames that may go into a calibration set: image files, or a clip's frames as PNG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge.errors import InputError
from edge.media import VIDEO_SUFFIXES, ClipReader, read_still
from edge.types import UInt8Array
from trt_build.calibration.fingerprints import Fingerprint, fingerprint
from trt_build.graphs import list_images

NIGHT_BELOW = 80  # median luma of a night frame; an infrared flash close by makes frames that count as day
THUMBNAIL_PX = 96


@dataclass(frozen=True)
class Candidate:
    """A frame, and what is needed to judge it.

    Attributes:
        file: the image, or the clip that the frame is from.
        number: of a clip's frame, from 0; None for an image.
        histogram: pixels of each luma, int64[256].
        thumbnail: uint8[H, W], no side over THUMBNAIL_PX.
    """

    file: Path
    number: int | None
    fingerprint: Fingerprint
    histogram: npt.NDArray[np.int64]
    thumbnail: UInt8Array

    @property
    def source(self) -> Path:
        """The image's path, or CLIP#NUMBER."""
        return self.file if self.number is None else Path(f"{self.file}#{self.number}")

    @property
    def night(self) -> bool:
        """Whether its median luma is below NIGHT_BELOW."""
        return bool(2 * self.histogram[:NIGHT_BELOW].sum() > self.histogram.sum())


def list_candidates(where: Path, count: int) -> tuple[int, Iterator[Candidate | InputError]]:
    """How many frames there are to look at, and each, or why it cannot be read.

    Args:
        where: a folder of images, a .txt list of them, or a clip; of a clip, about 8 * `count` frames are looked at.

    Raises:
        InputError: it is none of these, or empty.
    """
    if where.is_file() and where.suffix.lower() in VIDEO_SUFFIXES:
        return _from_clip(where, 8 * count)
    files = list_images(where)
    return len(files), (_from_file(file) for file in files)


def contents(frames: Sequence[Candidate]) -> Iterator[tuple[str, bytes]]:
    """Suffix and content of each frame's file: images as they are, a clip's frames as PNG."""
    numbers = {frame.number for frame in frames if frame.number is not None}
    if not numbers:
        yield from ((frame.file.suffix.lower(), frame.file.read_bytes()) for frame in frames)
        return
    with closing(ClipReader(frames[0].file)) as reader:
        for number, luma in enumerate(reader):
            if number in numbers:
                yield ".png", cv2.imencode(".png", luma)[1].tobytes()


def _from_file(file: Path) -> Candidate | InputError:
    try:
        luma = read_still(file)
        return _candidate(file, None, file.read_bytes(), luma)
    except InputError as error:
        return error


def _from_clip(clip: Path, count: int) -> tuple[int, Iterator[Candidate]]:
    reader = ClipReader(clip)
    step = max(1, reader.frames // count)

    def frames() -> Iterator[Candidate]:
        with closing(reader):
            for number, luma in enumerate(reader):
                if number % step == 0:
                    yield _candidate(clip, number, luma.tobytes(), luma)

    return -(-reader.frames // step), frames()


def _candidate(file: Path, number: int | None, content: bytes, luma: UInt8Array) -> Candidate:
    scale = min(1.0, THUMBNAIL_PX / max(luma.shape))
    size = [max(1, round(side * scale)) for side in luma.shape[::-1]]
    thumbnail = np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), np.uint8)
    return Candidate(file, number, fingerprint(content, luma), np.bincount(luma.ravel(), minlength=256), thumbnail)
