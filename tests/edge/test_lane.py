"""What a lane does with its frames, and when something goes wrong in it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from unittest.mock import Mock

import numpy as np
import pytest

from edge import lane as lane_module
from edge.closing import Closing
from edge.errors import BundleError, TapetumError
from edge.exchange import Exchange
from edge.lane import Lane
from edge.types import Frame, Instant
from tests.e2e.service import ROOT
from tests.mosquitto import wait_until


def frame(seq: int = 0, at: Instant | None = None) -> Frame:
    return Frame(seq, seq * 40_000_000, at or Instant.now(), np.zeros((2, 2), np.uint8))


class Used(Closing):
    """What a lane owns."""

    is_closed = False

    def close(self) -> None:
        self.is_closed = True


class Pad(Lane):
    """A lane whose work the test does."""

    def __init__(self, used: Closing | None = None) -> None:
        super().__init__("pad", None if used is None else Exchange(used))
        self.done: list[str] = []
        self.begun = threading.Event()
        self.before_work: Callable[[], object] = lambda: None
        self.least_ns = 0

    @property
    def min_interval_ns(self) -> int:
        return self.least_ns

    def work(self, frame: Frame) -> None:
        self.begun.set()
        self.before_work()
        self.done.append(f"work {frame.seq}")

    def idle(self) -> None:
        self.done.append("idle")

    def finish(self) -> None:
        self.done.append("finish")


class TestLane:
    def test_it_works_idles_and_finishes(self) -> None:
        with Pad() as lane:
            lane.put(frame(seq=7))
            wait_until(lambda: "idle" in lane.done)
        assert lane.done[0] == "work 7"
        assert lane.done[-1] == "finish"
        assert lane.done.count("finish") == 1
        assert lane.rate.total == 1

    def test_the_newest_frame_wins(self) -> None:
        free = threading.Event()
        with Pad() as lane:
            lane.before_work = lambda: free.wait(20)
            lane.put(frame(seq=0))
            assert lane.begun.wait(20)
            for seq in range(1, 6):
                lane.put(frame(seq=seq))
            free.set()
            wait_until(lambda: lane.rate.total == 2)
        assert [what for what in lane.done if what.startswith("work")] == ["work 0", "work 5"]
        assert lane.dropped == 4

    def test_latency_counts_from_the_capture(self) -> None:
        captured_at = Instant(Instant.now().utc - timedelta(seconds=3), time.monotonic_ns() - 3 * 10**9)
        with Pad() as lane:
            lane.put(frame(at=captured_at))
            wait_until(lambda: lane.rate.total == 1)
        p50_ms, _ = lane.rate.latencies_ms()
        assert p50_ms is not None
        assert p50_ms >= 3000

    def test_its_pace_is_kept_and_it_shows_that_it_lives_meanwhile(self) -> None:
        """However long the pause, the watchdog must not take it for a lane that hangs."""
        lane = Pad()
        lane.least_ns = 60 * 10**9
        with lane:
            lane.put(frame(seq=1))
            wait_until(lambda: lane.rate.total == 1)
            lane.put(frame(seq=2))
            for _ in range(3):
                beat_ns = lane.beat_ns
                wait_until(lambda beat_ns=beat_ns: lane.beat_ns > beat_ns, what="a beat")
            assert lane.rate.total == 1
            started_s = time.monotonic()
        assert time.monotonic() - started_s < 30, "the end does not wait for the pause"
        assert lane.done[-1] == "finish"

    def test_a_fault_is_kept_and_raised_at_the_end(self) -> None:
        lane = Pad()
        lane.before_work = lambda: 1 // 0
        with pytest.raises(ZeroDivisionError), lane:
            lane.put(frame())
            wait_until(lambda: lane.fault is not None)
        assert lane.done == [], "what comes after a fault is unknown"

    def test_a_fault_does_not_hide_the_error_that_ends_all(self) -> None:
        lane = Pad()
        lane.before_work = lambda: 1 // 0
        with pytest.raises(KeyError), lane:
            lane.put(frame())
            wait_until(lambda: lane.fault is not None)
            raise KeyError

    @pytest.mark.parametrize("other", [None, KeyError()])
    def test_one_that_hangs_keeps_what_it_uses(
        self, other: Exception | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nothing is freed under it, not even when the interpreter ends; other errors go first."""
        at_exit = Mock()
        monkeypatch.setattr(lane_module, "JOIN_S", 0.05)
        monkeypatch.setattr(lane_module, "atexit", at_exit)
        free, used = threading.Event(), Used()
        lane = Pad(used)
        lane.before_work = lambda: free.wait(20)
        with pytest.raises((TapetumError, KeyError)) as told, lane:
            lane.put(frame())
            assert lane.begun.wait(20)
            if other:
                raise other
        assert "the pad lane hangs" in caplog.text
        assert told.value is other or "the pad lane hangs" in str(told.value)
        assert not used.is_closed
        at_exit.register.assert_called_once_with(os._exit, 1)
        free.set()
        wait_until(lambda: lane.done[-1:] == ["finish"])

    @pytest.mark.parametrize("ends_with", ["pass", "raise KeyError"])
    def test_the_process_of_one_that_hangs_ends_without_freeing(self, ends_with: str) -> None:
        """As CUDA's and OpenVINO's libraries would at the interpreter's end, while the lane still is in them."""
        script = f"""
import atexit, time
from edge import lane as lane_module
from tests.edge.test_lane import Pad, frame
atexit.register(print, "freed", flush=True)
lane_module.JOIN_S = 0.05
lane = Pad()
lane.before_work = lambda: time.sleep(600)
with lane:
    lane.put(frame())
    lane.begun.wait()
    {ends_with}
"""
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert ("the pad lane hangs" if ends_with == "pass" else "KeyError") in done.stderr.splitlines()[-1]

    def test_what_it_owns_is_closed_when_its_thread_has_ended(self) -> None:
        used = Used()
        with Pad(used) as lane:
            lane.put(frame())
            wait_until(lambda: lane.done)
            assert not used.is_closed
        assert used.is_closed

    def test_a_bundle_that_fails_in_a_running_lane_is_no_reason_to_give_up(self) -> None:
        """Exit code 4 tells systemd never to start the service again."""

        def fail() -> None:
            raise BundleError("label 1 of 1")

        lane = Pad()
        lane.before_work = fail
        with pytest.raises(TapetumError, match=r"^label 1 of 1$") as told, lane:
            lane.put(frame())
            wait_until(lambda: lane.fault is not None)
        assert (told.value.exit_code, type(told.value.__cause__)) == (1, BundleError)
