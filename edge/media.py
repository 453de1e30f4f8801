"""Stills, lists of them, and clips on disk, for offline work. (Live sources are GStreamer's: see edge/video.)"""

from __future__ import annotations

import codecs
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from edge.atomic import replacing, write_atomic
from edge.errors import InputError, TapetumError
from edge.types import UInt8Array

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm"})

MOST_PIXELS = 1 << 28  # of a picture: 16384 x 16384

_PNG = b"\x89PNG\r\n\x1a\n"
_MAX_FPS = 240.0
_DEFAULT_FPS = 25.0


def read_still(path: Path) -> UInt8Array:
    """Decode an image to luma, uint8[H, W], as it is meant to be looked at.

    Colour becomes BT.601 luma, EXIF orientation is applied, alpha is ignored, and 16 bits are scaled to 8.

    Raises:
        InputError: it cannot be read, or is no whole image.
    """
    try:
        content = path.read_bytes()
        if content.startswith(_PNG) and b"IEND" not in content:  # libpng would add a line of its own on stderr
            raise InputError(f"{path}: not an image, or cut short")
        data = np.frombuffer(content, np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH) if data.size else None
    except OSError as error:
        raise InputError(f"{path}: cannot read the image: {error.strerror}") from error
    except cv2.error as error:
        raise InputError(f"{path}: cannot decode the image: {error.err}") from error
    if image is None:
        raise InputError(f"{path}: not an image, or cut short")
    if image.size > MOST_PIXELS:
        raise InputError(f"{path}: {image.shape[1]}x{image.shape[0]} pixels are too many: scale it down")
    if image.dtype == np.uint16:
        return np.asarray(cv2.convertScaleAbs(image, alpha=255 / 65535), np.uint8)
    if image.dtype != np.uint8:
        raise InputError(f"{path}: {image.dtype} pixels: convert the image to 8 or 16 bits")
    return np.asarray(image, np.uint8)


def listed(path: Path) -> list[str]:
    """The lines of a text list of images, without empty ones and those that begin with #.

    Raises:
        InputError: not a readable text file, or it names nothing.
    """
    try:
        text = os.fsdecode(path.read_bytes().removeprefix(codecs.BOM_UTF8))
    except OSError as error:
        raise InputError(f"{path}: cannot read the list: {error.strerror}") from error
    if "\0" in text:
        raise InputError(f"{path}: not a text file: give a list of images, one path a line")
    lines = [line.rstrip("\r") for line in text.split("\n")]
    names = [line for line in lines if line.strip() and not line.startswith("#")]
    if not names:
        raise InputError(f"{path}: the list names no image")
    return names


def quieten_opencv() -> None:
    """A broken file gets one line, ours; not OpenCV's and FFmpeg's."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


def write_still(path: Path, bgr: UInt8Array) -> None:
    """Write uint8[H, W, 3] as PNG, atomically.

    Raises:
        TapetumError: it cannot be written.
    """
    _, data = cv2.imencode(".png", bgr)
    try:
        write_atomic(path, data.tobytes())
    except OSError as error:
        raise TapetumError(f"{path}: cannot write: {error.strerror}") from error


class Clip(ABC):
    """A video file, frame by frame as luma. `fps` is its mean rate; `frames` what its header declares, or 0."""

    def __init__(self, fps: float, frames: int) -> None:
        self.fps = fps
        self.frames = frames

    @abstractmethod
    def __iter__(self) -> Iterator[UInt8Array]:
        """Yield uint8[H, W] until the end, or until the file breaks off."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""

    def lacks(self, read: int) -> bool:
        """Whether the file broke off after `read` frames. Some headers estimate: 5 %, or 3 frames, may be missing."""
        return self.frames - read > max(3, self.frames * 0.05)


class ClipReader(Clip):
    """A video file that is decoded here."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            InputError: it is not a video that can be decoded.
        """
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise InputError(f"{path}: not a video, or broken")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        frames = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        super().__init__(fps if 1 <= fps <= _MAX_FPS else _DEFAULT_FPS, frames)

    def __iter__(self) -> Iterator[UInt8Array]:
        while True:
            there, bgr = self._capture.read()
            if not there:
                return
            yield np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), np.uint8)

    def close(self) -> None:
        self._capture.release()


class ClipWriter:
    """An MPEG-4 video being written; odd sizes are padded by repeating the last row or column."""

    def __init__(self, path: Path, fps: float) -> None:
        self._path = path
        self._fps = fps
        self._writer: cv2.VideoWriter | None = None
        self._written = 0

    def write(self, bgr: UInt8Array) -> None:
        """Append a frame uint8[H, W, 3]; the first one sets the size.

        Raises:
            TapetumError: the file cannot be made.
        """
        height, width = bgr.shape[:2]
        even = cv2.copyMakeBorder(bgr, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        if self._writer is None:
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(
                str(self._path), cv2.CAP_FFMPEG, codec, self._fps, (even.shape[1], even.shape[0])
            )
            if not self._writer.isOpened():
                raise TapetumError(f"{self._path.parent}: cannot write a video of {width}x{height} here")
        self._writer.write(even)
        self._written += 1

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()

    def finish(self) -> None:
        """Close the file and count its frames: OpenCV does not tell of a full disk.

        Raises:
            TapetumError: frames are missing.
        """
        self.close()
        if int(cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG).get(cv2.CAP_PROP_FRAME_COUNT)) != self._written:
            raise TapetumError(f"{self._path.parent}: the video was not written whole: is the disk full?")


@contextmanager
def writing_clip(path: Path, fps: float) -> Iterator[ClipWriter]:
    """Write an MP4 file atomically: it appears when the block ends well.

    Raises:
        TapetumError: it cannot be written whole.
    """
    with replacing(path) as temporary:
        writer = ClipWriter(temporary, fps)
        try:
            yield writer
            writer.finish()
        finally:
            writer.close()
