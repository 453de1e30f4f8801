"""What a V4L2 device says of itself: ioctls of <linux/videodev2.h>, which work while somebody else captures."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_CAPTURE = 1  # V4L2_BUF_TYPE_VIDEO_CAPTURE
_DISCRETE = 1  # V4L2_FRMSIZE_TYPE_DISCRETE, V4L2_FRMIVAL_TYPE_DISCRETE
_CAN_CAPTURE, _HAS_DEVICE_CAPS = 0x1, 0x8000_0000  # V4L2_CAP_*
_MOST = 64  # entries of a list; a driver in trouble may never say that it ends


@dataclass(frozen=True, slots=True)
class Mode:
    """What a camera can give. A range of sizes, or of rates, is told by its largest.

    Attributes:
        fourcc: "YUYV", "MJPG", "GREY".
        fps: 0 where it does not tell.
    """

    fourcc: str
    width: int
    height: int
    fps: float

    def __str__(self) -> str:
        rate = f" {self.fps:g} fps" if self.fps else ""
        return f"{self.fourcc} {self.width}x{self.height}{rate}"


@dataclass(frozen=True, slots=True)
class Camera:
    """A device: the driver's name for it, and whether it gives pictures at all."""

    card: str
    captures: bool
    modes: tuple[Mode, ...]


def read_camera(device: Path) -> Camera:
    """Ask a device.

    Raises:
        OSError: it cannot be opened, or is no V4L2 device.
    """
    with _opened(device) as descriptor:
        # driver, card, bus_info, version, capabilities, device_caps, reserved
        capability = struct.Struct("=16s32s32sIII12x")
        _, card, _, _, all_caps, own_caps = capability.unpack(_ask(descriptor, _request("r", 0, capability.size)))
        caps = own_caps if all_caps & _HAS_DEVICE_CAPS else all_caps
        captures = bool(caps & _CAN_CAPTURE)
        modes = tuple(_modes(descriptor)) if captures else ()
        return Camera(card.split(b"\0")[0].decode(errors="replace"), captures, modes)


def _modes(descriptor: int) -> Iterator[Mode]:
    # index, type, flags, description, pixelformat, mbus_code, reserved
    formats = struct.Struct("=III32sI16x")
    for index in range(_MOST):
        answer = _next(descriptor, 2, formats.pack(index, _CAPTURE, 0, b"", 0))
        if answer is None:
            return
        pixel_format = formats.unpack(answer)[4]
        fourcc = struct.pack("=I", pixel_format).decode("ascii", "replace").strip("\0 ")
        for width, height in _sizes(descriptor, pixel_format):
            yield Mode(fourcc, width, height, _most_fps(descriptor, pixel_format, width, height))


def _sizes(descriptor: int, pixel_format: int) -> Iterator[tuple[int, int]]:
    # index, pixel_format, type, then width and height, or min, max and step of each; reserved
    sizes = struct.Struct("=III6I8x")
    for index in range(_MOST):
        answer = _next(descriptor, 74, sizes.pack(index, pixel_format, 0, *[0] * 6))
        if answer is None:
            return
        _, _, kind, *numbers = sizes.unpack(answer)
        if kind != _DISCRETE:
            yield numbers[1], numbers[4]
            return
        yield numbers[0], numbers[1]


def _most_fps(descriptor: int, pixel_format: int, width: int, height: int) -> float:
    # index, pixel_format, width, height, type, then a fraction of a second, or min, max and step; reserved
    intervals = struct.Struct("=IIIII6I8x")
    fastest = 0.0
    for index in range(_MOST):
        answer = _next(descriptor, 75, intervals.pack(index, pixel_format, width, height, 0, *[0] * 6))
        if answer is None:
            break
        numerator, denominator = intervals.unpack(answer)[5:7]  # of a range, the shortest
        if numerator:
            fastest = max(fastest, denominator / numerator)
    return fastest


@contextmanager
def _opened(device: Path) -> Iterator[int]:
    descriptor = os.open(device, os.O_RDWR | os.O_NONBLOCK)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _next(descriptor: int, number: int, entry: bytes) -> bytes | None:
    """An entry of a list; None behind its end."""
    try:
        return _ask(descriptor, _request("rw", number, len(entry)), entry)
    except OSError:  # EINVAL at the end, ENOTTY where the driver has no such list
        return None


def _ask(descriptor: int, request: int, question: bytes = b"") -> bytes:
    buffer = bytearray(question.ljust(request >> 16 & 0x3FFF, b"\0"))
    fcntl.ioctl(descriptor, request, buffer, True)
    return bytes(buffer)


def _request(direction: str, number: int, size: int) -> int:
    """_IOR and _IOWR of <asm-generic/ioctl.h>, of the group "V"."""
    way = {"r": 2, "rw": 3}[direction]
    return way << 30 | size << 16 | ord("V") << 8 | number
