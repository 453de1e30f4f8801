"""The watch over the station: looks about once a second, in a thread of its own, and reports conditions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from edge.conditions import Conditions
from edge.field_sections import StationConfig
from edge.mailbox import Mailbox
from edge.rounds import Rounds
from edge.types import Frame, Track
from edge.watch.clock_jump import ClockJump
from edge.watch.disk import DiskSpace
from edge.watch.finding import Finding, Latch
from edge.watch.moved import Moved
from edge.watch.picture import Black, Blurred, Daylight, Frozen
from edge.watch.repeats import Repeats
from edge.watch.sample import Sample, Sampler

WELL_AFTER_S = 10.0  # a picture must be well for so long before that is told

Look = Callable[[], Finding | None]  # None: nothing new to look at


class StationWatch(Rounds):
    """Looks at the newest frame of each round; `put` costs the source's thread nothing.

    Args:
        tracks_now: what is seen at the moment.
        state_dir: a folder on the disk to watch.
        clock_s: a clock that only goes forward.
    """

    def __init__(
        self,
        config: StationConfig,
        conditions: Conditions,
        tracks_now: Callable[[], Sequence[Track]],
        state_dir: Path,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tracks_now, self._clock_s = tracks_now, clock_s
        self._box: Mailbox[Frame] = Mailbox()
        self._sampler = Sampler()
        self._sample: Sample | None = None
        self._day = Latch(config.daylight_s, config.daylight_s)
        looks = [*self._picture_looks(config), *self._other_looks(config, state_dir)] if config.enabled else []
        tasks = {name: partial(self._report, name, look, latch) for name, look, latch in looks}
        super().__init__("watch", config.interval_s, {"sample": self._take, **tasks}, conditions)

    def put(self, frame: Frame) -> None:
        """Offer a frame; the one that waits, if any, is dropped."""
        self._box.put(frame)

    def _picture_looks(self, config: StationConfig) -> Iterator[tuple[str, Look, Latch]]:
        moved = Moved(config.moved_accept_s)
        for name, look, on_after_s in (
            ("frozen_picture", Frozen().look, config.frozen_s),
            ("black_picture", Black().look, config.black_s),
            ("blurred_picture", Blurred().look, config.blurred_s),
            ("camera_moved", lambda sample: moved.look(sample, is_day=self._day.is_on), config.moved_s),
        ):
            if on_after_s:
                yield name, partial(self._at_sample, look), Latch(on_after_s, WELL_AFTER_S)
        if config.daylight_s:
            yield "day_mode", partial(self._at_sample, Daylight().look), self._day

    def _other_looks(self, config: StationConfig, state_dir: Path) -> Iterator[tuple[str, Look, Latch]]:
        """These hold what they find by themselves, as long as it is news."""
        if config.clock_jump_s:
            yield "clock_jumped", ClockJump(config.clock_jump_s).look, Latch(0, 0)
        if config.disk_free_mb:
            yield "disk_nearly_full", DiskSpace(state_dir, config.disk_free_mb).look, Latch(0, 0)
        if config.repeat_s:
            repeats = Repeats(config.repeat_s)
            yield "repeat_detections", lambda: repeats.look(self._tracks_now(), self._clock_s()), Latch(0, 0)

    def _take(self) -> None:
        frame = self._box.get(0)
        self._sample = self._sampler.take(frame) if frame else None

    def _at_sample(self, look: Callable[[Sample], Finding]) -> Finding | None:
        return look(self._sample) if self._sample else None

    def _report(self, name: str, look: Look, latch: Latch) -> None:
        finding = look()
        if finding is None:
            return
        was_on = latch.is_on
        is_on = latch.update(finding.is_wrong, self._clock_s())
        if is_on != was_on or finding.is_wrong == is_on:  # a doubtful finding does not change what is told
            self._conditions.report(name, is_on, finding.detail)
