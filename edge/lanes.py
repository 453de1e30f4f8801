"""The two lanes, each a thread that takes the newest frame: colour for every frame, detection when it is free.

A lane shows that it lives by its `beat_ns`; an error that it cannot handle ends it and is kept in `fault`.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from edge.config import Config
from edge.events import EventLog
from edge.mailbox import Mailbox
from edge.rates import Rate
from edge.tracking import Tracker
from edge.types import ColourFrame, Event, Frame, Instant, SourceStatus, Track, UInt8Array
from edge.video.card import no_signal_card
from edge.video.nv12 import from_luma
from edge.video.overlay import draw_tracks
from edge.video.rtsp import MOUNTS
from edge.vision.base import Colourist, Detector
from edge.vision.scene import SceneWatch

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self  # in typing from Python 3.11

log = logging.getLogger(__name__)

# How often a lane without frames wakes: its pulse, and the rate of the "no signal" card. Some viewers show nothing
# before they have some twenty pictures.
IDLE_S = 0.1
JOIN_S = 5.0


class Screen(Protocol):
    """Where pictures go: the RTSP server."""

    def push(self, mount: str, nv12: UInt8Array) -> None:
        """Show a picture to whoever watches the mount; never blocks."""

    def watching(self, mount: str) -> bool:
        """Whether anybody does."""


class Lane(ABC):
    """A thread that works on the newest frame. Leaving it as a context manager ends the thread."""

    def __init__(self, name: str, *, min_interval_s: float = 0.0) -> None:
        self.rate = Rate()
        self.fault: BaseException | None = None
        self.beat_ns = time.monotonic_ns()
        self._min_interval_ns = round(min_interval_s * 1e9)
        self._box: Mailbox[Frame] = Mailbox()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def put(self, frame: Frame) -> None:
        """Offer a frame; the one that waits, if any, is dropped."""
        self._box.put(frame)

    @property
    def dropped(self) -> int:
        """Frames that this lane had no time for."""
        return self._box.dropped

    @abstractmethod
    def work(self, frame: Frame) -> None:
        """Handle one frame."""

    @abstractmethod
    def idle(self) -> None:
        """No frame came for IDLE_S."""

    @abstractmethod
    def finish(self) -> None:
        """The lane ends."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._box.close()
        self._thread.join(JOIN_S)
        if self._thread.is_alive():
            log.warning("the %s lane does not end; it is left behind", self._thread.name)
        if self.fault is not None and error is None:
            raise self.fault

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                frame = self._box.get(IDLE_S)
                started_ns = time.monotonic_ns()
                if frame is None:
                    self.idle()
                else:
                    self.work(frame)
                    self.rate.count((time.monotonic_ns() - frame.captured_at.monotonic_ns) / 1e6)
                self._pause_until(started_ns + self._min_interval_ns)
            self.finish()
        except BaseException as error:  # app.py sees it and ends the service
            self.fault = error

    def _pause_until(self, end_ns: int) -> None:
        """Wait for the lane's next turn, and show that it lives."""
        self.beat_ns = time.monotonic_ns()
        while self.beat_ns < end_ns and not self._stopping.wait(min((end_ns - self.beat_ns) / 1e9, IDLE_S)):
            self.beat_ns = time.monotonic_ns()


class ColourLane(Lane):
    """Frame -> (seldom: context) -> NV12 -> screen, with the newest tracks drawn in."""

    def __init__(
        self,
        config: Config,
        colourist: Colourist,
        screen: Screen,
        tracks_now: Callable[[], Sequence[Track]],
        source_now: Callable[[], SourceStatus],
    ) -> None:
        super().__init__("colour")
        self._colourist, self._screen = colourist, screen
        self._tracks_now, self._source_now = tracks_now, source_now
        self._overlay = config.rtsp.overlay
        self._stall_s = config.source.stall_s
        self._scene = SceneWatch(config.colour)
        self._context_ns = 0
        self.newest: tuple[Frame, ColourFrame] | None = None

    @property
    def context_age_s(self) -> float | None:
        """How old the scene's context vector is."""
        return (time.monotonic_ns() - self._context_ns) / 1e9 if self._context_ns else None

    @property
    def grey_frames(self) -> int:
        """Frames that were shown grey because the colorizer failed."""
        return self._colourist.grey_frames

    def work(self, frame: Frame) -> None:
        if self._scene.is_due(frame):
            self._colourist.renew_context(frame.luma)
            self._context_ns = time.monotonic_ns()
        coloured = ColourFrame(frame.seq, frame.pts_ns, self._colourist.nv12(frame.luma))
        self.newest = (frame, coloured)
        # Also while nobody watches: the newest picture greets the next viewer.
        self._screen.push("nir", from_luma(frame.luma))
        self._screen.push("colour", self._with_overlay(frame, coloured))

    def idle(self) -> None:
        """Show the card once the source has been silent for its `stall_s`."""
        status = self._source_now()
        last_ns = status.last_frame_at.monotonic_ns if status.last_frame_at else None
        age_s = None if last_ns is None else (time.monotonic_ns() - last_ns) / 1e9
        if age_s is not None and age_s < self._stall_s:
            return
        self._colourist.forget()
        last_picture = self.newest[1].nv12 if self.newest else None
        card = no_signal_card(last_picture, status.detail, age_s)
        for mount in MOUNTS:
            self._screen.push(mount, card)

    def finish(self) -> None:
        """Nothing is left to do."""

    def _with_overlay(self, frame: Frame, coloured: ColourFrame) -> UInt8Array:
        tracks = self._tracks_now() if self._overlay and self._screen.watching("colour") else ()
        return draw_tracks(coloured.nv12, tracks, (frame.width, frame.height)) if tracks else coloured.nv12


class DetectLane(Lane):
    """Frame -> boxes -> tracks -> events, at most `max_fps` times a second."""

    def __init__(self, config: Config, detector: Detector, publish: Callable[[Event], None]) -> None:
        super().__init__("detect", min_interval_s=1.0 / config.detect.max_fps)
        self._detector, self._publish = detector, publish
        self._tracker = Tracker(config.detect, detector.labels)
        self._events = EventLog(config.detect)
        self._leave_after_s = config.detect.leave_after_s
        self._last_frame_s = time.monotonic()
        self.tracks: Sequence[Track] = ()

    def work(self, frame: Frame) -> None:
        self._last_frame_s = time.monotonic()
        found = self._detector.detect(frame.luma)
        self.tracks = self._tracker.update(found, frame.captured_at)
        self._tell(self._events.update(self.tracks, frame))

    def idle(self) -> None:
        """The source is silent: what was seen has left, as far as anybody can know."""
        if time.monotonic() - self._last_frame_s > self._leave_after_s:
            self.finish()

    def finish(self) -> None:
        """Leave events for all that is still followed."""
        self.tracks = ()
        self._tracker.clear()
        self._tell(self._events.close(Instant.now()))

    def _tell(self, events: Sequence[Event]) -> None:
        for event in events:
            self._publish(event)
