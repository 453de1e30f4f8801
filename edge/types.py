"""Types between the stages of the pipeline. Frozen: a stage hands on, it never edits."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from enum import Enum

import numpy as np
import numpy.typing as npt

from edge.station import clock

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment on both clocks: UTC for people, monotonic for arithmetic.

    `is_synchronised` tells whether something kept the clock right when `utc` was read.
    """

    utc: datetime
    monotonic_ns: int
    is_synchronised: bool = False

    @classmethod
    def now(cls) -> Instant:
        return cls(datetime.now(timezone.utc), time.monotonic_ns(), clock.is_synchronised())

    def utc_of(self, other: Instant) -> datetime:
        """The UTC of `other` by this moment's clock, which may have been set in between."""
        return self.utc + timedelta(microseconds=(other.monotonic_ns - self.monotonic_ns) // 1000)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One camera frame.

    `luma` is uint8[H, W], 0..255 full range, C-contiguous, owned by the frame.
    `pts_ns` is the stream's own clock, for recordings; the live path goes by `captured_at`, its arrival here.
    `chroma_spread` is the standard deviation of the camera's chroma in levels, None where it sends none: near 0 in
    infrared mode.
    """

    seq: int
    pts_ns: int
    captured_at: Instant
    luma: UInt8Array
    chroma_spread: float | None = None

    @property
    def height(self) -> int:
        return int(self.luma.shape[0])

    @property
    def width(self) -> int:
        return int(self.luma.shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class ColourFrame:
    """One coloured frame.

    `nv12` is uint8[H * 3 // 2, W], C-contiguous, with H and W even (an odd frame is padded by repeating its
    last row or column): H rows of Y', then H / 2 rows of interleaved Cb, Cr. BT.601, limited range.
    """

    seq: int
    pts_ns: int
    nv12: UInt8Array


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What the recognizer found in one frame.

    boxes float32[N, 4], xyxy in source pixels; labels int64[N], index into the bundle's labels;
    scores float32[N], 0..1, descending.
    """

    boxes: Float32Array
    labels: Int64Array
    scores: Float32Array

    @classmethod
    def empty(cls) -> Detections:
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32))

    def __len__(self) -> int:
        return len(self.scores)


Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Track:
    """One object followed over frames. `box` is xyxy in source pixels."""

    id: str
    label: str
    score: float
    box: Box
    first_seen: Instant
    last_seen: Instant


class EventKind(str, Enum):
    """What happened to a track."""

    APPEAR = "appear"
    UPDATE = "update"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class Event:
    """Something to tell the world about a track, with the size (width, height) in pixels of its frame."""

    kind: EventKind
    track: Track
    frame_seq: int
    frame_time: Instant
    frame_size: tuple[int, int]


class SourceState(str, Enum):
    """Life of a source."""

    STARTING = "starting"
    LIVE = "live"
    LOST = "lost"  # no frame for too long, or an error; a rebuild is on its way
    ENDED = "ended"  # a clip that plays once is over
    FAILED = "failed"  # cannot heal by itself: the clip is missing or broken


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """A snapshot of a source for health and the "no signal" card."""

    state: SourceState = SourceState.STARTING
    detail: str = ""
    frames: int = 0
    rebuilds: int = 0
    last_frame_at: Instant | None = None
    size: tuple[int, int] | None = field(default=None)
