"""Images and video files. Their decoders are C code: what they do wrong may end the process."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from edge.errors import InputError
from edge.media import MOST_PIXELS, ClipReader, quieten_opencv, read_still
from edge.types import UInt8Array
from tests.fuzz.target import Target

MOST_FRAMES = 100  # of one clip: what a broken header promises does not hold the run up


def _scene() -> UInt8Array:
    """uint8[48, 64, 3], BGR: ramps and a few edges, so that each coder has something to say."""
    rows, columns = np.mgrid[:48, :64]
    scene = np.stack([columns * 4, rows * 5, (rows * columns) % 251], axis=2)
    scene[10:20, 10:30] = (250, 20, 90)
    return np.asarray(scene, np.uint8)


class Still(Target):
    """Bytes of an image."""

    tokens = (
        *(b"\x89PNG\r\n\x1a\n", b"IHDR", b"IDAT", b"IEND", b"PLTE", b"acTL", b"\xff\xd8", b"\xff\xd9", b"\xff\xc0"),
        *(b"\xff\xc2", b"\xff\xda", b"\xff\xe1", b"Exif\0\0", b"RIFF", b"WEBP", b"VP8X", b"ANMF", b"II*\0", b"MM\0*"),
        *(b"BM", b"P5", b"P6", b"P7", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\xff\xff", b"GIF89a"),
    )
    is_python = False
    noise = r"(?!Traceback|Exception)[ -~]*"  # libpng and libjpeg: OpenCV gives no way to stop them

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        quieten_opencv()
        self._path = folder / "image"

    def seeds(self) -> list[bytes]:
        return list(_stills())

    def feed(self, data: bytes) -> None:
        self._path.write_bytes(data)
        luma = read_still(self._path)
        assert (luma.dtype, luma.ndim) == (np.uint8, 2)
        assert 0 < luma.size <= MOST_PIXELS


def _stills() -> Iterator[bytes]:
    bgr = _scene()
    grey = bgr[..., 1].copy()
    deep = grey.astype(np.uint16) * 257
    alpha = np.dstack([bgr, 255 - grey])
    kinds: list[tuple[str, np.ndarray, list[int]]] = [
        (".png", grey, []),
        (".png", deep, []),
        (".png", alpha, []),
        (".png", (grey > 90).astype(np.uint8) * 255, [cv2.IMWRITE_PNG_BILEVEL, 1]),
        (".jpg", bgr, []),
        (".jpg", bgr, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 4]),
        (".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 30]),
        (".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, 60]),
        (".webp", alpha, [cv2.IMWRITE_WEBP_QUALITY, 101]),
        (".tiff", bgr, []),
        (".tiff", deep, [cv2.IMWRITE_TIFF_COMPRESSION, 1]),
        (".tiff", grey, [cv2.IMWRITE_TIFF_COMPRESSION, 8]),
        (".tiff", grey.astype(np.float32), []),
        (".bmp", bgr, []),
        (".pgm", grey, []),
        (".ppm", bgr, [cv2.IMWRITE_PXM_BINARY, 0]),
    ]
    for suffix, image, options in kinds:
        yield cv2.imencode(suffix, image, options)[1].tobytes()
    yield _with_orientation(cv2.imencode(".jpg", bgr)[1].tobytes(), 6)


def _with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """A JPEG whose EXIF (TIFF 6.0, tag 274) says how it is to be turned."""
    entry = b"\x01\x12\x00\x03\x00\x00\x00\x01" + orientation.to_bytes(2, "big") + b"\0\0"
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + entry + b"\0\0\0\0"
    return jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]


class Clip(Target):
    """Bytes of a video file."""

    tokens = (
        *(b"ftyp", b"moov", b"mdat", b"trak", b"stsz", b"stco", b"stts", b"stsd", b"mp4v", b"avc1", b"RIFF", b"AVI "),
        *(
            b"movi",
            b"idx1",
            b"MJPG",
            b"\x1aE\xdf\xa3",
            b"\0\0\x01\xb3",
            b"\0\0\x01\xba",
            b"G\x40",
            b"\xff\xff\xff\xff",
        ),
    )
    limit_mib = 1024
    is_python = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        quieten_opencv()
        self._path = folder / "clip"

    def seeds(self) -> list[bytes]:
        return [_clip(self.folder / name, *options) for name, *options in CLIPS]

    def feed(self, data: bytes) -> None:
        self._path.write_bytes(data)
        frames = 0
        with closing(ClipReader(self._path)) as clip:
            assert 1 <= clip.fps <= 240 and clip.frames >= 0
            for luma in islice(clip, MOST_FRAMES):
                assert (luma.dtype, luma.ndim) == (np.uint8, 2) and 0 < luma.size <= MOST_PIXELS
                frames += 1
            clip.lacks(frames)
        if not frames:
            raise InputError("no frame")


CLIPS = (
    ("a.mp4", "-c:v", "mpeg4"),
    ("b.mp4", "-c:v", "libx264", "-bf", "1"),
    ("c.avi", "-c:v", "mjpeg"),
    ("d.mkv", "-c:v", "libx264"),
    ("e.ts", "-c:v", "mpeg2video"),
)


def _clip(path: Path, *options: str) -> bytes:
    """Six frames of 64x48, made by ffmpeg."""
    source = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=10:duration=0.6"]
    exact = ["-fflags", "+bitexact", "-flags", "+bitexact", "-threads", "1", "-pix_fmt", "yuvj420p"]
    subprocess.run(["ffmpeg", "-v", "error", "-y", *source, *options, *exact, str(path)], check=True)
    return path.read_bytes()
