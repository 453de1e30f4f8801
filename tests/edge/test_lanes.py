"""The two lanes with real networks (the tiny bundle), and what a lane does when something goes wrong in it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from edge import lanes
from edge.bundles.bundle import load_bundle
from edge.config import Config, parse_config
from edge.kernels.lab_merge import cpu_kernel
from edge.lanes import ColourLane, DetectLane
from edge.limits import UNLIMITED, Limits
from edge.settings import Settings
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


class LentDetector(CpuDetector):
    """Its networks are those of all tests."""

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def detector(networks: Networks) -> CpuDetector:
    return LentDetector(networks)


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
        config = self.config = configured(**{"colour": {"smoothing": 0.0}, **sections})
        colourist = CpuColourist(networks, config.colour)
        self.limits = UNLIMITED
        self.lane = ColourLane(
            config, colourist, self.screen, lambda: self.tracks, lambda: self.status, lambda: self.limits
        )


BOTH = ("colour", "nir")


class TestColourLane:
    @pytest.mark.parametrize("size", [(240, 320), (121, 161)])
    def test_a_frame_becomes_colour_video(self, networks: Networks, size: tuple[int, int]) -> None:
        bench = ColourBench(networks, *BOTH)
        luma = scene(90, size)
        bench.lane.work(frame(luma, seq=3))
        expected = cpu_kernel().nv12(luma, networks.colour(luma, networks.context(luma)))
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
            np.testing.assert_array_equal(shown, cpu_kernel().nv12(luma, networks.colour(luma, context)))
        assert bench.lane.context_age_s is not None
        assert 0 <= bench.lane.context_age_s < 60

    @pytest.mark.parametrize(("watched", "pictures"), [((), 1), (("nir",), 5)])
    def test_grey_pictures_are_made_for_viewers(
        self, networks: Networks, watched: tuple[str, ...], pictures: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And one a second to greet them; after an outage with the first frame."""
        monkeypatch.setattr(lanes, "GREETING_S", 3600.0)
        bench = ColourBench(networks, *watched)
        for _ in range(5):
            bench.lane.work(frame(scene()))
        assert len(bench.screen.shown["nir"]) == pictures
        bench.status = SourceStatus(SourceState.LOST, "gone")
        bench.lane.idle()
        bench.lane.work(frame(scene(90)))
        np.testing.assert_array_equal(bench.screen.shown["nir"][-1], from_luma(scene(90)))
        monkeypatch.setattr(lanes, "GREETING_S", 0.0)
        bench.lane.work(frame(scene(80)))
        np.testing.assert_array_equal(bench.screen.shown["nir"][-1], from_luma(scene(80)))

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
        fresh = cpu_kernel().nv12(scene(), np.full((2, 128, 128), 20, np.float32))
        np.testing.assert_array_equal(bench.screen.shown["colour"][-1], fresh)

    def test_another_colourist_computes_its_own_context(self, networks: Networks) -> None:
        """And what was grey before stays counted."""
        bench = ColourBench(networks, colour={"smoothing": 0.0, "context_interval_s": 3600.0})
        former, later_one = LentColourist(networks), LentColourist(networks)
        bench.lane = ColourLane(bench.config, former, bench.screen, list, lambda: bench.status)
        former.grey_frames, later_one.grey_frames = 3, 0
        with bench.lane as lane:
            lane.put(frame(scene(60)))
            wait_until(lambda: lane.rate.total == 1)
            lane.swap(later_one)
            wait_until(lambda: former.is_closed, what="the former is closed, frame or no frame")
            later_one.grey_frames = 1
            lane.put(frame(scene(70)))
            wait_until(lambda: lane.rate.total == 2)
            assert lane.grey_frames == 4
            assert not later_one.is_closed
        expected = cpu_kernel().nv12(scene(70), networks.colour(scene(70), networks.context(scene(70))))
        assert bench.lane.newest is not None
        np.testing.assert_array_equal(bench.lane.newest[1].nv12, expected)
        assert later_one.is_closed


class TestLimits:
    """What the governor lowers."""

    def test_a_smaller_frame_is_coloured_and_shown(self, networks: Networks) -> None:
        bench = ColourBench(networks, "colour", "nir")
        bench.limits = Limits(frame_scale=0.5)
        bench.lane.work(frame(scene()))
        assert bench.lane.newest is not None
        assert bench.lane.newest[0].luma.shape == (240, 320)
        assert [picture[-1].shape for picture in bench.screen.shown.values()] == [(120 * 3 // 2, 160)] * 2
        bench.limits = UNLIMITED
        bench.lane.work(frame(scene()))
        assert [picture[-1].shape for picture in bench.screen.shown.values()] == [(240 * 3 // 2, 320)] * 2

    def test_the_context_grows_older(self, networks: Networks) -> None:
        bench = ColourBench(networks, colour={"context_interval_s": 5.0})
        bench.limits = Limits(context_factor=4.0)
        start = Instant.now()
        renewed = []
        for second in (0.0, 6.0, 19.0, 21.0):
            bench.lane.work(frame(scene(), at=later(start, second)))
            renewed.append(bench.lane.context_age_s)
        ages = [age for age in renewed if age is not None]
        assert len(ages) == 4
        assert ages[3] < ages[2] - 15, "only the last look was due"

    def test_fewer_frames_are_coloured(self, networks: Networks) -> None:
        lane = ColourLane(
            configured(), LentColourist(networks), Screen(), tuple, SourceStatus, lambda: Limits(colour_max_fps=10.0)
        )
        started_s = time.monotonic()
        with lane:
            while lane.rate.total < 5:
                lane.put(frame(scene()))
                time.sleep(0.005)
        assert time.monotonic() - started_s >= 0.4, "four pauses between five frames"


class LentColourist(CpuColourist):
    """Its networks are those of all tests."""

    is_closed = False

    def __init__(self, networks: Networks) -> None:
        super().__init__(networks, configured(colour={"smoothing": 0.0}).colour)

    def close(self) -> None:
        self.is_closed = True


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

    def test_run_time_values_are_taken_with_the_next_frame(self, detector: CpuDetector) -> None:
        """The times are those of the frames; the lane's thread does not run."""
        events: list[Event] = []
        config = configured(detect={"appear_after": 1, "update_interval_s": 1.0, "score_threshold": 1.0})
        settings, start = Settings(config), Instant.now()
        lane = DetectLane(config, detector, events.append, settings)
        lane.work(frame(scene(), 0, start))
        assert events == []
        settings.set("score_threshold", 0.5)
        for number in range(1, 32):  # one look each 0.1 s
            lane.work(frame(scene(), number, later(start, number / 10)))
            if number == 11:
                settings.set("update_interval_s", 2.0)
        assert [(event.kind.value, event.frame_seq) for event in events] == [
            ("appear", 1),
            ("update", 11),
            ("update", 31),
        ]

    @pytest.mark.parametrize("labels", [("cat", "dog"), ("sheep", "wolf")])
    def test_another_detector(self, networks: Networks, labels: tuple[str, ...]) -> None:
        """Tracks go on where the labels are the same; else the events of the former come before it is told."""
        events: list[Event | str] = []
        other = LentDetector(networks)
        other.labels = labels
        lane = DetectLane(configured(detect={"appear_after": 1}), LentDetector(networks), events.append)
        with lane:
            lane.put(frame(scene()))
            wait_until(lambda: events)
            lane.swap(other, lambda: events.append("taken"))
            lane.put(frame(scene(), 1))
            wait_until(lambda: lane.rate.total == 2)
            assert len(lane.tracks) == 1
        told = [event if isinstance(event, str) else (event.kind.value, event.track.label) for event in events]
        if labels == ("cat", "dog"):
            assert told == [("appear", "dog"), "taken", ("leave", "dog")]
        else:
            assert told == [("appear", "dog"), ("leave", "dog"), "taken", ("appear", "wolf"), ("leave", "wolf")]

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
