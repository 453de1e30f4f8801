"""What the watch tells of pictures: each fault, when it begins and when it is over, and what is none."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge.field_sections import StationConfig
from edge.types import Float32Array, UInt8Array
from tests.edge.watch.pictures import Station, place, seen, with_walker

TIMES = StationConfig()
PLACE = place()


def healthy(second: int) -> UInt8Array:
    return seen(PLACE, second)


def blurred(sigma_px: float) -> Float32Array:
    return np.asarray(cv2.GaussianBlur(PLACE, (0, 0), sigma_px), np.float32)


def shifted(right_px: float, scene: Float32Array = PLACE) -> Float32Array:
    matrix = np.array([[1, 0, right_px], [0, 1, 0]], np.float32)
    return np.asarray(cv2.warpAffine(scene, matrix, (640, 480), borderMode=cv2.BORDER_REFLECT), np.float32)


class TestFrozen:
    def test_the_same_frame_again_and_again(self) -> None:
        station, frame = Station(), healthy(0)
        assert station.run(int(TIMES.frozen_s), lambda _: frame) == set()
        assert station.run(3, lambda _: frame) == {"frozen_picture"}
        assert station.run(15, healthy) == set()
        assert station.changes == [("frozen_picture", "on"), ("frozen_picture", "off")]

    @pytest.mark.parametrize("noise", [0.4, 1.0, 3.0])
    def test_a_still_scene_with_noise_is_not(self, noise: float) -> None:
        station = Station()
        assert station.run(90, lambda second: seen(PLACE, second, noise)) == set()

    def test_a_clock_in_the_picture_does_not_hide_it(self) -> None:
        def with_clock(second: int) -> UInt8Array:
            frame = frozen.copy()
            cv2.putText(frame, f"22:00:{second:02d}", (10, 20), cv2.FONT_HERSHEY_PLAIN, 1.2, 255)
            return frame

        station, frozen = Station(), healthy(0)
        assert station.run(60, with_clock) == {"frozen_picture"}

    def test_a_night_that_is_black_but_for_a_lit_spot_is_not(self) -> None:
        """What is clipped has no noise; only the rest can tell."""
        dark = np.zeros_like(PLACE) - 20
        dark[200:280, 250:400] = PLACE[200:280, 250:400] + 40
        assert "frozen_picture" not in Station().run(60, lambda second: seen(dark, second))

    def test_a_source_that_is_away_is_not(self) -> None:
        station, frame = Station(), healthy(0)
        station.run(10, lambda _: frame)
        station.idle(120)
        assert station.run(10, lambda _: frame) == set()


class TestBlack:
    def test_the_lamp_fails_and_is_mended(self) -> None:
        station = Station()
        station.run(20, healthy)
        assert station.run(30, lambda second: seen(PLACE * 0 + 3, second)) == {"black_picture"}
        assert station.run(15, healthy) == set()
        assert station.changes == [("black_picture", "on"), ("black_picture", "off")]

    def test_black_is_neither_blurred_nor_moved_nor_frozen(self) -> None:
        station = Station()
        station.run(60, healthy)
        assert station.run(300, lambda _: np.zeros((480, 640), np.uint8)) == {"black_picture"}

    def test_a_small_lit_place_is_enough(self) -> None:
        dark = PLACE * 0.05
        dark[300:420, 200:440] = PLACE[300:420, 200:440] * 0.6
        assert "black_picture" not in Station().run(60, lambda second: seen(dark, second))


class TestBlurred:
    @pytest.mark.parametrize("noise", [1.0, 3.0, 6.0])
    def test_out_of_focus_and_back(self, noise: float) -> None:
        station, soft = Station(), blurred(5)
        station.run(20, lambda second: seen(PLACE, second, noise))
        assert station.run(150, lambda second: seen(soft, second, noise)) == {"blurred_picture"}
        assert station.run(40, lambda second: seen(PLACE, second, noise)) == set()

    def test_frost(self) -> None:
        station, frosted = Station(), 0.25 * blurred(6) + 70
        assert station.run(150, lambda second: seen(frosted, second)) == {"blurred_picture"}
        assert "contrast" in station.told[0].detail

    def test_a_sharp_place_is_not_however_the_light_flickers(self) -> None:
        station = Station()
        lights = np.random.default_rng(0).uniform(0.8, 1.2, 200)
        assert station.run(200, lambda second: seen(PLACE * lights[second], second, 4.0)) == set()

    def test_a_place_in_weak_light_is_not(self) -> None:
        assert Station().run(200, lambda second: seen(PLACE * 0.4, second, 3.0)) == set()

    def test_a_picture_too_small_to_judge_is_not(self) -> None:
        small = cv2.resize(blurred(5), (120, 90))
        assert Station().run(200, lambda second: seen(small, second)) == set()


class TestMoved:
    @pytest.mark.parametrize("right_px", [32, -64, 200])
    def test_a_push(self, right_px: float) -> None:
        station, pushed = Station(), shifted(right_px)
        station.run(60, healthy)
        assert station.run(90, lambda second: seen(pushed, second)) == {"camera_moved"}
        if abs(right_px) < 100:
            assert f"shifted by {100 * right_px / 640:+.0f} % of the width" in station.told[0].detail

    def test_pushed_back(self) -> None:
        station, pushed = Station(), shifted(64)
        station.run(60, healthy)
        station.run(90, lambda second: seen(pushed, second))
        assert station.run(30, healthy) == set()
        assert station.changes == [("camera_moved", "on"), ("camera_moved", "off")]

    def test_a_new_view_that_stays_is_accepted(self) -> None:
        station, pushed = Station(moved_accept_s=200.0), shifted(64)
        station.run(60, healthy)
        assert station.run(100, lambda second: seen(pushed, second)) == {"camera_moved"}
        assert station.run(150, lambda second: seen(pushed, second)) == set()
        assert "reference now" in station.told[-1].detail
        assert station.run(90, healthy) == {"camera_moved"}, "the old view is the wrong one now"

    def test_animals_that_walk_by_do_not_move_it(self) -> None:
        station = Station()
        station.run(60, healthy)
        assert station.run(200, lambda second: seen(with_walker(PLACE, second), second)) == set()

    def test_one_that_stays_before_half_the_picture_does_not_either(self) -> None:
        station, blocked = Station(), PLACE.copy()
        blocked[:, :320] = 120
        station.run(60, healthy)
        assert station.run(150, lambda second: seen(blocked, second)) == set()

    @pytest.mark.parametrize("gain", [0.35, 1.4])
    def test_another_lamp_does_not(self, gain: float) -> None:
        station = Station()
        spot = gain * (0.5 + np.linspace(0, 1, 640, dtype=np.float32))[None]
        station.run(60, healthy)
        assert station.run(150, lambda second: seen(PLACE * spot, second)) == set()

    def test_a_trembling_pole_does_not(self) -> None:
        station = Station()
        views = [shifted(right_px) for right_px in (-1.0, 0.0, 1.0)]
        assert station.run(200, lambda second: seen(views[second % 3], second)) == set()

    def test_by_day_another_reference_holds(self) -> None:
        """Other edges are lit: as different as two places, and still the same camera."""
        station, day = Station(), place(1)
        station.run(60, healthy, 0.0)
        assert station.run(150, lambda second: seen(day, second), 20.0) == {"day_mode"}
        assert station.run(150, healthy, 0.0) == set()
        assert station.changes == [("day_mode", "on"), ("day_mode", "off")]

    def test_another_size_of_frame_begins_anew(self) -> None:
        station, wide = Station(), cv2.resize(PLACE, (640, 360))
        station.run(60, healthy)
        assert station.run(120, lambda second: seen(wide, second)) == set()


class TestDayMode:
    def test_a_camera_without_colours_never_tells(self) -> None:
        assert Station().run(30, healthy, None) == set()

    def test_a_short_glance_is_not_day(self) -> None:
        station = Station()
        for _ in range(10):
            assert station.run(5, healthy, 12.0) == set()
            station.run(2, healthy, 0.0)


def test_zero_switches_a_look_off() -> None:
    station, frame = Station(frozen_s=0.0, black_s=0.0), np.zeros((480, 640), np.uint8)
    assert station.run(120, lambda _: frame) == set()


def test_the_whole_watch_can_be_off() -> None:
    station, frame = Station(enabled=False), np.zeros((480, 640), np.uint8)
    assert station.run(120, lambda _: frame) == set()
