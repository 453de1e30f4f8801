"""From tracks to events: each object appears once, is updated now and then, and leaves once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edge.sections import DetectConfig
from edge.types import Event, EventKind, Frame, Instant, Track


@dataclass(slots=True)
class _Told:
    """What the world knows of a track."""

    track: Track
    at: Instant  # of the last event


class EventLog:
    """Turns the visible tracks of each frame into events. Not thread-safe: one lane owns it.

    Attributes:
        update_interval_s: at most one update for each track in this time; it may be changed between two frames.
    """

    def __init__(self, config: DetectConfig) -> None:
        self._config = config
        self.update_interval_s = config.update_interval_s
        self._told: dict[str, _Told] = {}
        self._frame_seq = 0
        self._frame_size = (0, 0)

    def update(self, tracks: Iterable[Track], frame: Frame) -> list[Event]:
        """The events of one frame, given the tracks that are visible in it: appear and update, then leave."""
        self._frame_seq, self._frame_size = frame.seq, (frame.width, frame.height)
        at = frame.captured_at
        visible = {track.id: track for track in tracks}
        events = [event for track in visible.values() if (event := self._tell(track, at)) is not None]
        gone = [told for key, told in self._told.items() if key not in visible and self._is_gone(told, at)]
        return events + [self._leave(told, at) for told in gone]

    def close(self, at: Instant) -> list[Event]:
        """Leave events for all that are still there: the service stops, or the source is lost.

        They carry the number and size of the last frame, and `at` as their time.
        """
        return [self._leave(told, at) for told in list(self._told.values())]

    def _tell(self, track: Track, at: Instant) -> Event | None:
        told = self._told.get(track.id)
        if told is None:
            self._told[track.id] = _Told(track, at)
            return self._event(EventKind.APPEAR, track, at)
        if track.last_seen.monotonic_ns <= told.track.last_seen.monotonic_ns:
            return None  # its box is only a prediction
        told.track = track
        if _seconds(told.at, at) < self.update_interval_s:
            return None
        told.at = at
        return self._event(EventKind.UPDATE, track, at)

    def _is_gone(self, told: _Told, at: Instant) -> bool:
        return _seconds(told.track.last_seen, at) >= self._config.leave_after_s

    def _leave(self, told: _Told, at: Instant) -> Event:
        del self._told[told.track.id]
        return self._event(EventKind.LEAVE, told.track, at)

    def _event(self, kind: EventKind, track: Track, at: Instant) -> Event:
        return Event(kind, track, self._frame_seq, at, self._frame_size)


def _seconds(start: Instant, end: Instant) -> float:
    return (end.monotonic_ns - start.monotonic_ns) / 1e9
