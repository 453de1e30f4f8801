"""The two lanes with real networks (the tiny bundle), and what a lane does when something goes wrong in it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from edge import lanes
from edge.bundles.bundle import load_bundle
from edge.config import Config, parse_config
from edge.kernels.lab_merge import lab_merge
from edge.lanes import ColourLane, DetectLane, Lane
from edge.types import Event, EventKind, Frame, Instant, SourceState, SourceStatus, Track, UInt8Array
from edge.video.nv12 import from_luma
from edge.vision.cpu import CpuColourist, CpuDetector
from edge.vision.networks import Networks
from tests.edge.tiny_bundle import make_tiny_bundle
from tests.mosquitto import wait_until


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Networks]:
    with Networks(load_bundle(make_tiny_bundle(tmp_path_factory.mktemp("bundle"))), threads=1) as networks:
        yield networks


@pytest.fixture(scope="module")
def detector(networks: Networks) -> CpuDetector:
    return CpuDetector(networks)


def configured(**sections: dict[str, Any]) -> Config:
    return parse_config(sections, origin="test")


def frame(luma: UInt8Array, seq: int = 0, at: Instant | None = None) -> Frame:
    return Frame(seq, seq * 40_000_000, at or Instant.now(), luma)


def scene(level: int = 60, size: tuple[int, int] = (240, 320), block_left: int | None = 100) -> UInt8Array:
    """uint8[H, W]: even ground, and a white block that the tiny recognizer sees."""
    luma = np.full(size, level, np.uint8)
    if block_left is not None:
        luma[60:120, block_left : block_left + 80] = 255
    return luma


def later(start: Instant, seconds: float) -> Instant:
    return Instant(start.utc + timedelta(seconds=seconds), start.monotonic_ns + round(seconds * 1e9))


class Pad(Lane):
    """A lane whose work the test does."""

    def __init__(self, **pace: float) -> None:
        super().__init__("pad", **pace)
        self.done: list[str] = []
        self.begun = threading.Event()
        self.before_work: Callable[[], object] = lambda: None

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
            lane.put(frame(scene(), seq=7))
            wait_until(lambda: "idle" in lane.done)
        assert lane.done[0] == "work 7"
        assert lane.done[-1] == "finish"
        assert lane.done.count("finish") == 1
        assert lane.rate.total == 1

    def test_the_newest_frame_wins(self) -> None:
        free = threading.Event()
        with Pad() as lane:
            lane.before_work = lambda: free.wait(20)
            lane.put(frame(scene(), seq=0))
            assert lane.begun.wait(20)
            for seq in range(1, 6):
                lane.put(frame(scene(), seq=seq))
            free.set()
            wait_until(lambda: lane.rate.total == 2)
        assert [what for what in lane.done if what.startswith("work")] == ["work 0", "work 5"]
        assert lane.dropped == 4

    def test_latency_counts_from_the_capture(self) -> None:
        captured_at = later(Instant.now(), -3)
        with Pad() as lane:
            lane.put(frame(scene(), at=captured_at))
            wait_until(lambda: lane.rate.total == 1)
        p50_ms, _ = lane.rate.latencies_ms()
        assert p50_ms is not None
        assert p50_ms >= 3000

    def test_its_pace_is_kept_and_it_shows_that_it_lives_meanwhile(self) -> None:
        """However long the pause, the watchdog must not take it for a lane that hangs."""
        with Pad(min_interval_s=60) as lane:
            lane.put(frame(scene(), seq=1))
            wait_until(lambda: lane.rate.total == 1)
            lane.put(frame(scene(), seq=2))
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
            lane.put(frame(scene()))
            wait_until(lambda: lane.fault is not None)
        assert lane.done == [], "what comes after a fault is unknown"

    def test_a_fault_does_not_hide_the_error_that_ends_all(self) -> None:
        lane = Pad()
        lane.before_work = lambda: 1 // 0
        with pytest.raises(KeyError), lane:
            lane.put(frame(scene()))
            wait_until(lambda: lane.fault is not None)
            raise KeyError

    def test_one_that_hangs_is_left_behind(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(lanes, "JOIN_S", 0.05)
        free = threading.Event()
        with Pad() as lane:
            lane.before_work = lambda: free.wait(20)
            lane.put(frame(scene()))
            assert lane.begun.wait(20)
        assert "pad lane does not end" in caplog.text
        free.set()
        wait_until(lambda: lane.done[-1:] == ["finish"])


class Screen:
    """Keeps what it is shown."""

    def __init__(self, *watched: str) -> None:
        self.watched = watched
        self.shown: dict[str, list[UInt8Array]] = {"colour": [], "nir": []}

    def push(self, mount: str, nv12: UInt8Array) -> None:
        self.shown[mount].append(nv12)

    def watching(self, mount: str) -> bool:
        return mount in self.watched


class ColourBench:
    """A colour lane whose surroundings the test sets; its thread does not run, the test calls `work` and `idle`."""

    def __init__(self, networks: Networks, *watched: str, **sections: dict[str, Any]) -> None:
        self.screen = Screen(*watched)
        self.tracks: list[Track] = []
        self.status = SourceStatus()
        config = configured(**{"colour": {"smoothing": 0.0}, **sections})
        colourist = CpuColourist(networks, config.colour)
        self.lane = ColourLane(config, colourist, self.screen, lambda: self.tracks, lambda: self.status)


BOTH = ("colour", "nir")


class TestColourLane:
    @pytest.mark.parametrize("size", [(240, 320), (121, 161)])
    def test_a_frame_becomes_colour_video(self, networks: Networks, size: tuple[int, int]) -> None:
        bench = ColourBench(networks, *BOTH)
        luma = scene(90, size)
        bench.lane.work(frame(luma, seq=3))
        expected = lab_merge(luma, networks.colour(luma, networks.context(luma)))
        np.testing.assert_array_equal(bench.screen.shown["colour"][0], expected)
        np.testing.assert_array_equal(bench.screen.shown["nir"][0], from_luma(luma))
        assert bench.lane.newest is not None
        grey, coloured = bench.lane.newest
        assert (grey.seq, coloured.seq, coloured.pts_ns) == (3, 3, grey.pts_ns)

    def test_the_newest_picture_is_there_for_the_next_viewer(self, networks: Networks) -> None:
        """A viewer who comes after an outage must not be greeted by its card."""
        bench = ColourBench(networks)
        bench.status = SourceStatus(SourceState.LOST, "gone")
        bench.lane.idle()
        bench.lane.work(frame(scene()))
        assert bench.lane.newest is not None
        np.testing.assert_array_equal(bench.screen.shown["colour"][-1], bench.lane.newest[1].nv12)
        np.testing.assert_array_equal(bench.screen.shown["nir"][-1], from_luma(scene()))

    def test_the_context_is_that_of_the_scene(self, networks: Networks) -> None:
        """Kept while the scene stays, renewed by a cut; the tiny colorizer shows in `a` which one is in use."""
        bench = ColourBench(networks, "colour", colour={"smoothing": 0.0, "context_interval_s": 3600.0})
        assert bench.lane.context_age_s is None
        first, similar, other = scene(60), scene(80), scene(200)
        for luma in (first, similar, other):
            bench.lane.work(frame(luma))
        used = [networks.context(first), networks.context(first), networks.context(other)]
        for shown, luma, context in zip(bench.screen.shown["colour"], (first, similar, other), used, strict=True):
            np.testing.assert_array_equal(shown, lab_merge(luma, networks.colour(luma, context)))
        assert bench.lane.context_age_s is not None
        assert 0 <= bench.lane.context_age_s < 60

    @pytest.mark.parametrize("overlay", [True, False])
    def test_tracks_are_drawn_for_viewers_alone(self, networks: Networks, overlay: bool) -> None:
        bench = ColourBench(networks, *BOTH, rtsp={"overlay": overlay})
        now = Instant.now()
        bench.tracks = [Track("1", "dog", 0.9, (100, 60, 180, 120), now, now)]
        bench.lane.work(frame(scene()))
        assert bench.lane.newest is not None
        plain = bench.lane.newest[1].nv12
        assert np.array_equal(bench.screen.shown["colour"][0], plain) is not overlay
        np.testing.assert_array_equal(bench.screen.shown["nir"][0], from_luma(scene()))

    def test_the_card_before_any_frame(self, networks: Networks) -> None:
        bench = ColourBench(networks)
        bench.status = SourceStatus(SourceState.LOST, "camera: no such device")
        bench.lane.idle()
        for mount in BOTH:
            (card,) = bench.screen.shown[mount]
            assert card.shape == (720, 640)
            assert card.max() > 200, "it has text"

    def test_the_card_has_the_size_of_the_last_picture(self, networks: Networks) -> None:
        bench = ColourBench(networks, source={"stall_s": 1.0})
        last = frame(scene(120, (121, 161)), at=later(Instant.now(), -0.5))
        bench.lane.work(last)
        bench.status = SourceStatus(SourceState.LIVE, last_frame_at=last.captured_at)
        bench.lane.idle()
        (live,) = bench.screen.shown["colour"]  # a pause between two frames is no reason
        bench.status = SourceStatus(SourceState.LOST, "gone", last_frame_at=later(last.captured_at, -1))
        bench.lane.idle()
        _, card = bench.screen.shown["colour"]
        assert card.shape == live.shape == (183, 162)
        assert card.mean() < live.mean()

    def test_colours_from_before_an_outage_are_forgotten(
        self, networks: Networks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench = ColourBench(networks, "colour", colour={"smoothing": 0.75})
        steps = iter([0.0, 20.0])
        monkeypatch.setattr(networks, "colour", lambda luma, context: np.full((2, 128, 128), next(steps), np.float32))
        bench.lane.work(frame(scene()))
        bench.lane.idle()
        bench.lane.work(frame(scene()))
        fresh = lab_merge(scene(), np.full((2, 128, 128), 20, np.float32))
        np.testing.assert_array_equal(bench.screen.shown["colour"][-1], fresh)


class TestDetectLane:
    def kinds(self, events: list[Event]) -> list[EventKind]:
        return [event.kind for event in events]

    def test_the_life_of_an_object(self, detector: CpuDetector) -> None:
        """With the times of the frames, not of the clock; the lane's thread does not run."""
        events: list[Event] = []
        lane = DetectLane(configured(detect={"appear_after": 3, "leave_after_s": 2.0}), detector, events.append)
        start = Instant.now()
        for number in range(15):  # ten looks a second
            lane.work(frame(scene(block_left=40 + 4 * number), number, later(start, number / 10)))
        assert self.kinds(events) == [EventKind.APPEAR, EventKind.UPDATE]
        (track,) = lane.tracks
        assert (track.label, events[0].frame_seq, events[1].frame_seq) == ("dog", 2, 12)
        np.testing.assert_allclose(track.box, (40 + 56, 60, 40 + 56 + 80, 120), atol=4)
        for number in range(15, 45):
            lane.work(frame(scene(block_left=None), number, later(start, number / 10)))
        assert lane.tracks == []
        assert self.kinds(events) == [EventKind.APPEAR, EventKind.UPDATE, EventKind.LEAVE]
        assert len({event.track.id for event in events}) == 1

    def test_the_threshold_is_the_configuration_s(self, detector: CpuDetector) -> None:
        """The tiny recognizer always sees a cat, of score 0.3."""
        events: list[Event] = []
        lane = DetectLane(configured(detect={"appear_after": 1, "score_threshold": 0.2}), detector, events.append)
        lane.work(frame(scene(block_left=None)))
        assert [event.track.label for event in events] == ["cat"]

    def test_all_leave_at_the_end(self, detector: CpuDetector) -> None:
        events: list[Event] = []
        with DetectLane(configured(detect={"appear_after": 1}), detector, events.append) as lane:
            lane.put(frame(scene()))
            wait_until(lambda: events)
        assert self.kinds(events) == [EventKind.APPEAR, EventKind.LEAVE]
        assert lane.tracks == ()

    def test_all_leave_when_the_source_falls_silent_and_may_come_back(self, detector: CpuDetector) -> None:
        events: list[Event] = []
        config = configured(detect={"appear_after": 1, "leave_after_s": 0.3, "max_fps": 100.0})
        with DetectLane(config, detector, events.append) as lane:
            lane.put(frame(scene()))
            wait_until(lambda: len(events) == 2)
            lane.put(frame(scene()))
            wait_until(lambda: len(events) == 3)
        kinds = [EventKind.APPEAR, EventKind.LEAVE]
        assert self.kinds(events) == kinds + kinds
        assert len({event.track.id for event in events}) == 2

    def test_it_looks_at_most_max_fps_times_a_second(self, detector: CpuDetector) -> None:
        lane = DetectLane(configured(detect={"max_fps": 20.0}), detector, lambda event: None)
        luma = scene()
        started_s = time.monotonic()
        with lane:
            while lane.rate.total < 10:
                lane.put(frame(luma))
                time.sleep(0.002)
        assert time.monotonic() - started_s >= 9 / 20
        assert lane.dropped > 0

    def test_an_error_of_the_receiver_ends_the_lane(self, detector: CpuDetector) -> None:
        def publish(event: Event) -> None:
            raise OSError("no receiver")

        lane = DetectLane(configured(detect={"appear_after": 1}), detector, publish)
        with pytest.raises(OSError, match="no receiver"), lane:
            lane.put(frame(scene()))
            wait_until(lambda: lane.fault is not None)
