"""A backend that runs beside the one of the lanes, on the same frames, and disturbs them as little as it can."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Literal

from edge.bundles.trial import FRAMES, Comparison, Pace
from edge.closing import Closing
from edge.config import Config
from edge.lanes import ColourLane, DetectLane
from edge.types import Detections, Frame, UInt8Array
from edge.vision.base import Backend

TRIAL_POLL_S = 0.1  # between looks in a trial
PATIENCE = 10  # times trial_s, for objects to come into view
LONGEST_GAP_S = 2.0  # between frames that count as one live stream


class Shadow(Closing):
    """Looks at the lanes' newest frame after them, and keeps `comparison`.

    In the trial of a new bundle the shadow is judged; in its probation it is the bundle before it, and the lanes are.
    A shadow's own times are those of a thread that gives way to all others: where `pace` knows those of the bundle
    before, from when it had the lanes, they count.
    """

    def __init__(
        self,
        config: Config,
        backend: Backend | None,
        lanes: tuple[ColourLane, DetectLane],
        judged: Literal["shadow", "lanes"],
        pace: Pace | None = None,
    ) -> None:
        """Take over a backend: `close` closes it, unless `release` gives it away. Without one nothing is compared."""
        self._backend, (self._colour, self._detect) = backend, lanes
        self._is_judged, self._pace = judged == "shadow", pace
        self.comparison = Comparison(config.detect.score_threshold, gives_way=self._is_judged)
        self._context_interval_s, self._context_s = config.colour.context_interval_s, -math.inf
        self._coloured = self._searched = -1
        self._looked_s = time.monotonic()
        self._grey_before = self._colour.grey_frames

    def look(self) -> float:
        """Take the newest frames, where there are new ones; returns for how many seconds they have come since.

        Raises:
            BundleError: the shadow's networks say what their manifest does not know.
            GpuFaultError: the GPU is lost to this process.
        """
        coloured, searched = self._colour.newest, self._detect.newest
        since_s, self._looked_s = self._looked_s, time.monotonic()
        is_new = False
        if coloured and coloured[0].seq != self._coloured:
            self._coloured, is_new = coloured[0].seq, True
            self._colour_too(coloured[0], coloured[1].nv12, self._colour.work_ms)
        if searched and searched[0].seq != self._searched:
            self._searched = searched[0].seq
            self._search_too(searched[0], searched[1], self._detect.work_ms)
        return min(self._looked_s - since_s, LONGEST_GAP_S) if is_new else 0.0

    def release(self) -> Backend:
        """Give the backend away: its next frame is the first of a scene."""
        backend, self._backend = self._backend, None
        assert backend is not None, "there is none"
        backend.colourist.forget()
        return backend

    def close(self) -> None:
        if self._backend is not None:
            self._backend.close()
        self._backend = None

    def _colour_too(self, frame: Frame, theirs: UInt8Array, theirs_ms: float) -> None:
        comparison = self.comparison
        if self._backend is not None:
            colourist = self._backend.colourist
            if time.monotonic() - self._context_s > self._context_interval_s:
                colourist.renew_context(frame.luma)
                self._context_s = time.monotonic()
            started_s = time.monotonic()
            own = colourist.nv12(frame.luma)
            own_ms = (time.monotonic() - started_s) * 1e3
            if self._is_judged:
                comparison.grey_frames = colourist.grey_frames
                comparison.add_pictures(theirs, own, theirs_ms, own_ms)
            else:
                comparison.add_pictures(own, theirs, self._pace.colour_ms if self._pace else own_ms, theirs_ms)
        if not self._is_judged:
            comparison.grey_frames = self._colour.grey_frames - self._grey_before

    def _search_too(self, frame: Frame, theirs: Detections, theirs_ms: float) -> None:
        if self._backend is None:
            return
        started_s = time.monotonic()
        own = self._backend.detector.detect(frame.luma)
        own_ms = (time.monotonic() - started_s) * 1e3
        if self._is_judged:
            self.comparison.add_detections(theirs, own, theirs_ms, own_ms)
        else:
            reference_ms = self._pace.detect_ms if self._pace else own_ms
            self.comparison.add_detections(own, theirs, reference_ms, theirs_ms)


def run_trial(shadow: Shadow, trial_s: float, goes_on: Callable[[float], bool]) -> str | None:
    """Judge the shadow on `trial_s` seconds of live frames; on PATIENCE times as many where nothing is to be seen.

    Args:
        goes_on: waits for so many seconds; False ends the trial.

    Returns:
        What is wrong with it; empty where nothing is, None where the trial was ended.

    Raises:
        as Shadow.look.
    """
    live_s, comparison = 0.0, shadow.comparison
    while goes_on(TRIAL_POLL_S):
        live_s += shadow.look()
        if trouble := comparison.trouble():
            return trouble
        if comparison.frames >= FRAMES and live_s >= trial_s * (1 if comparison.has_objects else PATIENCE):
            return ""
    return None
