"""The health report of real lanes, and the pulse that systemd's watchdog is fed with."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from edge import health, rates
from edge.health import Health, Pulse
from edge.lanes import Lane
from edge.sections import SourceConfig
from edge.telemetry import payloads
from edge.telemetry.payloads import BundleInfo
from edge.types import Frame, Instant, SourceState, SourceStatus
from edge.video.source import Source
from tests.edge.telemetry.schemas import validate
from tests.mosquitto import wait_until

BUNDLE = BundleInfo("tiny", "1.0", "fp32", "openvino")


class Pad(Lane):
    """A lane whose work the test does."""

    def __init__(self, name: str = "pad") -> None:
        super().__init__(name)
        self.task: Callable[[], object] = lambda: None

    def work(self, frame: Frame) -> None:
        self.task()

    def idle(self) -> None:
        pass

    def finish(self) -> None:
        pass


class ColourPad(Pad):
    """In place of the colour lane."""

    grey_frames = 0


def frame() -> Frame:
    return Frame(0, 0, Instant.now(), np.zeros((2, 2), np.uint8))


class TestReport:
    def test_rates_and_latencies_are_those_between_two_reports(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = Mock(monotonic=Mock(return_value=1000.0))
        monkeypatch.setattr(health, "time", clock)
        monkeypatch.setattr(rates, "time", clock)
        status = SourceStatus(SourceState.LIVE, frames=100, size=(640, 480), last_frame_at=Instant.now())
        colour, detect = ColourPad("colour"), Pad("detect")
        reporter = Health(lambda: status, colour, detect, lambda: BUNDLE)
        for latency_ms in (10, 20, 30):
            colour.rate.count(latency_ms)
        detect.rate.count(500)
        clock.monotonic.return_value += 4
        first = reporter.report("rtsp://unit/colour", 2, None)
        assert (first.fps_in, first.fps_colour, first.fps_detect) == (25, 0.75, 0.25)
        assert (first.latency_p50_ms, first.uptime_s, first.rtsp_clients) == (20, 4, 2)
        clock.monotonic.return_value += 4
        second = reporter.report(None, 0, None)
        assert (second.fps_in, second.fps_colour, second.fps_detect) == (0, 0, 0)
        assert (second.latency_p50_ms, second.latency_p99_ms) == (None, None)
        assert second.uptime_s == 8
        assert second.memory_mb > 10
        for report in (first, second):
            validate(payloads.health(report, "unit-1"))

    def test_drops_are_those_of_the_lanes(self) -> None:
        colour, detect = ColourPad("colour"), Pad("detect")  # not started: nobody takes what is put
        for lane, count in ((colour, 3), (detect, 8)):
            for _ in range(count):
                lane.put(frame())
        report = Health(SourceStatus, colour, detect, lambda: BUNDLE).report(None, 0, None)
        assert report.drops == {"colour": 2, "detect": 7}

    def test_grey_frames_are_the_colour_lane_s(self) -> None:
        colour = ColourPad("colour")
        reporter = Health(SourceStatus, colour, Pad("detect"), lambda: BUNDLE)
        colour.grey_frames = 5
        assert payloads.health(reporter.report(None, 0, None), "unit-1")["grey_frames"] == 5

    def test_the_runtime_s_detail_may_change(self) -> None:
        """New engines, which the next start takes."""
        bundles = iter([BUNDLE, replace(BUNDLE, runtime_detail="news")])
        reporter = Health(SourceStatus, ColourPad("colour"), Pad("detect"), lambda: next(bundles))
        details = [
            payloads.health(reporter.report(None, 0, None), "unit-1")["bundle"]["runtime_detail"] for _ in "12"
        ]
        assert details == ["", "news"]


@pytest.fixture
def watchdog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], int]]:
    """systemd's end of the notification socket: how often the watchdog was fed since the last call."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    monkeypatch.setattr(health, "STUCK_S", 1.0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)

        def fed() -> int:
            count = 0
            while True:
                try:
                    assert manager.recv(100) == b"WATCHDOG=1"
                except BlockingIOError:
                    return count
                count += 1

        yield fed


def starves(pulse: Pulse, fed: Callable[[], int]) -> bool:
    """Whether a beat, when one is due, no longer feeds the watchdog."""
    fed()
    waited = threading.Event()
    waited.wait(0.02)
    pulse.beat()
    return fed() == 0


class TestPulse:
    def test_it_beats_in_half_the_interval_while_the_lanes_have_nothing_to_do(
        self, watchdog: Callable[[], int]
    ) -> None:
        with Pad() as colour, Pad() as detect:
            pulse = Pulse([colour, detect])
            pulse.beat()
            pulse.beat()
            assert watchdog() == 1, "not more often than needed"
            for _ in range(3):
                assert not starves(pulse, watchdog)

    @pytest.mark.parametrize("which", [0, 1])
    def test_it_stops_while_one_lane_hangs(self, which: int, watchdog: Callable[[], int]) -> None:
        free = threading.Event()
        with Pad("colour") as colour, Pad("detect") as detect:
            pulse = Pulse([colour, detect])
            stuck = (colour, detect)[which]
            stuck.task = lambda: free.wait(60)
            stuck.put(frame())
            assert not starves(pulse, watchdog), "a long step is not yet a hang"
            wait_until(lambda: starves(pulse, watchdog), what="the watchdog starves")
            assert starves(pulse, watchdog)
            free.set()
            wait_until(lambda: not starves(pulse, watchdog), what="the watchdog is fed again")

    def test_it_stops_while_the_source_hangs(self, watchdog: Callable[[], int]) -> None:
        free = threading.Event()
        with Source(SourceConfig(kind="test"), lambda frame: free.wait(60) and None) as source:
            pulse = Pulse([source])
            wait_until(lambda: starves(pulse, watchdog), what="the watchdog starves")
            free.set()
            wait_until(lambda: not starves(pulse, watchdog), what="the watchdog is fed again")

    def test_a_lane_that_ended_has_no_pulse(self, watchdog: Callable[[], int]) -> None:
        """The service notices the fault by itself; if it did not, systemd would."""
        lane = Pad()
        lane.task = lambda: 1 // 0
        with pytest.raises(ZeroDivisionError), lane:
            lane.put(frame())
            pulse = Pulse([lane])
            wait_until(lambda: starves(pulse, watchdog))

    def test_without_a_watchdog_nothing_is_sent(
        self, watchdog: Callable[[], int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("WATCHDOG_USEC")
        with Pad() as lane:
            pulse = Pulse([lane])
            assert starves(pulse, watchdog)
