"""The two lanes, each a thread that takes the newest frame: colour for every frame, detection when it is free."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from edge.config import Config
from edge.events import EventLog
from edge.exchange import Exchange
from edge.lane import Lane
from edge.limits import UNLIMITED, Limits
from edge.settings import Settings
from edge.tracking import Tracker
from edge.types import ColourFrame, Detections, Event, Frame, Instant, SourceStatus, Track, UInt8Array
from edge.video.card import no_signal_card
from edge.video.overlay import draw_tracks
from edge.video.rtsp import MOUNTS
from edge.vision.base import Colourist, Detector
from edge.vision.scene import SceneWatch

GREETING_S = 1.0  # the oldest picture of a mount that takes work to make, and greets a viewer


class Screen(Protocol):
    """Where pictures go: the RTSP server."""

    def push(self, mount: str, nv12: UInt8Array) -> None:
        """Show a picture to whoever watches the mount; never blocks."""

    def watching(self, mount: str) -> bool:
        """Whether anybody does."""


def show_card(
    screen: Screen, detail: str, last_picture: UInt8Array | None = None, age_s: float | None = None
) -> None:
    """Show "no signal" and why on all mounts. Arguments are those of `no_signal_card`."""
    card = no_signal_card(last_picture, detail, age_s)
    for mount in MOUNTS:
        screen.push(mount, card)


class ColourLane(Lane):
    """Frame -> (seldom: context) -> NV12 -> screen, with the newest tracks drawn in.

    Attributes:
        grey_frames: frames so far that were shown grey because the colorizer failed.
        newest: the newest frame and its picture.
    """

    def __init__(
        self,
        config: Config,
        colourist: Colourist,
        screen: Screen,
        tracks_now: Callable[[], Sequence[Track]],
        source_now: Callable[[], SourceStatus],
        limits_now: Callable[[], Limits] = lambda: UNLIMITED,
        settings: Settings | None = None,
    ) -> None:
        self._colourists = Exchange(colourist)
        super().__init__("colour", self._colourists)
        self._screen = screen
        self._tracks_now, self._source_now, self._limits_now = tracks_now, source_now, limits_now
        self._settings = settings or Settings(config)
        self._stall_s = config.source.stall_s
        self._scene = SceneWatch(config.colour)
        self._nir_s = 0.0
        self._grey_before = 0
        self.grey_frames = 0
        self.newest: tuple[Frame, ColourFrame] | None = None

    @property
    def context_age_s(self) -> float | None:
        """How old the scene's context vector is."""
        renewed_ns = self._scene.renewed_ns
        return None if renewed_ns is None else (time.monotonic_ns() - renewed_ns) / 1e9

    def swap(self, colourist: Colourist) -> None:
        """Colour with another one from the next frame on; the former is closed then. From any thread."""
        self._colourists.offer(colourist, self._start_anew)

    @property
    def min_interval_ns(self) -> int:
        return self._limits_now().colour_interval_ns

    def work(self, frame: Frame) -> None:
        limits, colourist = self._limits_now(), self._colourists.current
        luma = limits.scaled(frame.luma)
        nv12 = self._scene.picture(colourist, luma, frame.captured_at, limits.context_factor)
        coloured = ColourFrame(frame.seq, frame.pts_ns, nv12)
        self.grey_frames = self._grey_before + colourist.grey_frames
        self.newest = (frame, coloured)
        # Also while nobody watches: the newest picture greets the next viewer.
        self._screen.push("colour", self._with_overlay(frame, coloured))
        if self._screen.watching("nir") or time.monotonic() - self._nir_s > GREETING_S:
            self._screen.push("nir", colourist.grey(luma))
            self._nir_s = time.monotonic()

    def idle(self) -> None:
        """Show the card once the source has been silent for its `stall_s`."""
        status = self._source_now()
        last_ns = status.last_frame_at.monotonic_ns if status.last_frame_at else None
        age_s = None if last_ns is None else (time.monotonic_ns() - last_ns) / 1e9
        if age_s is not None and age_s < self._stall_s:
            return
        self._colourists.current.forget()
        self._nir_s = 0.0
        last_picture = self.newest[1].nv12 if self.newest else None
        show_card(self._screen, status.detail, last_picture, age_s)

    def finish(self) -> None:
        """Nothing is left to do."""

    def _start_anew(self) -> None:
        """Another colourist has no context yet, and has counted no grey frame."""
        self._scene.forget()
        self._grey_before = self.grey_frames

    def _with_overlay(self, frame: Frame, coloured: ColourFrame) -> UInt8Array:
        is_drawn = self._settings.now.overlay and self._screen.watching("colour")
        tracks = self._tracks_now() if is_drawn else ()
        return draw_tracks(coloured.nv12, tracks, (frame.width, frame.height)) if tracks else coloured.nv12


class DetectLane(Lane):
    """Frame -> boxes -> tracks -> events, at most `max_fps` times a second.

    Attributes:
        newest: the newest frame and what was found in it.
    """

    def __init__(
        self,
        config: Config,
        detector: Detector,
        publish: Callable[[Event], None],
        settings: Settings | None = None,
    ) -> None:
        self._detectors = Exchange(detector)
        self._settings = settings or Settings(config)
        super().__init__("detect", self._detectors)
        self._interval_ns = round(1e9 / config.detect.max_fps)
        self._config, self._publish = config.detect, publish
        self._tracker = Tracker(config.detect, detector.labels)
        self._events = EventLog(config.detect)
        self._leave_after_s = config.detect.leave_after_s
        self._last_frame_s = time.monotonic()
        self.tracks: Sequence[Track] = ()
        self.newest: tuple[Frame, Detections] | None = None

    @property
    def min_interval_ns(self) -> int:
        return self._interval_ns

    def swap(self, detector: Detector, on_taken: Callable[[], None] = lambda: None) -> None:
        """Look with another one from the next frame on; the former is closed then. From any thread.

        Tracks go on where the labels are the same; else all that was seen leaves.

        Args:
            on_taken: called by the lane's thread before the first frame of the new one, after the last event of the
                former.
        """

        def take() -> None:
            self._follow(detector.labels)
            on_taken()

        self._detectors.offer(detector, take)

    def work(self, frame: Frame) -> None:
        self._last_frame_s = time.monotonic()
        found = self._detectors.current.detect(frame.luma)
        self.newest = (frame, found)
        values = self._settings.now
        self._tracker.score_threshold = values.score_threshold
        self._events.update_interval_s = values.update_interval_s
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

    def _follow(self, labels: Sequence[str]) -> None:
        if labels != self._tracker.labels:
            self.finish()
            self._tracker = Tracker(self._config, labels)

    def _tell(self, events: Sequence[Event]) -> None:
        for event in events:
            self._publish(event)
