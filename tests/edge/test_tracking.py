"""The tracker on scenes whose truth is known: drawn by arithmetic, disturbed by a seeded generator."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.sections import DetectConfig
from edge.tracking import Tracker, distinct
from edge.types import Box, Detections, Instant, Track

LABELS = ("dog", "sheep", "person")
DOG, SHEEP, PERSON = range(3)
START = datetime(2024, 5, 1, 22, 0, tzinfo=timezone.utc)

Found = tuple[Box, int, float]


def at(seconds: float) -> Instant:
    return Instant(START + timedelta(seconds=seconds), 1_000_000_000 + round(seconds * 1e9))


def detections(found: Iterable[Found]) -> Detections:
    ordered = sorted(found, key=lambda item: -item[2])
    if not ordered:
        return Detections.empty()
    boxes, labels, scores = zip(*ordered, strict=True)
    return Detections(np.array(boxes, np.float32), np.array(labels, np.int64), np.array(scores, np.float32))


def box(x: float, y: float, width: float = 60, height: float = 40) -> Box:
    return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def tracker(**config: float) -> Tracker:
    return Tracker(DetectConfig.model_validate(config), LABELS)


def play(tracks: Tracker, frames: Iterable[Iterable[Found]], fps: float = 10) -> list[list[Track]]:
    return [tracks.update(detections(found), at(n / fps)) for n, found in enumerate(frames)]


def ids(seen: Iterable[Iterable[Track]]) -> set[str]:
    return {track.id for tracks in seen for track in tracks}


def centre(track: Track) -> tuple[float, float]:
    x0, y0, x1, y1 = track.box
    return (x0 + x1) / 2, (y0 + y1) / 2


def test_nothing_found_is_normal() -> None:
    assert play(tracker(), [[], [], []]) == [[], [], []]


def test_a_track_is_confirmed_after_so_many_frames_and_keeps_its_id() -> None:
    seen = play(tracker(appear_after=3), [[(box(100 + 5 * n, 100), DOG, 0.9)] for n in range(20)])
    assert [len(tracks) for tracks in seen] == [0, 0] + [1] * 18
    assert len(ids(seen)) == 1
    first, last = seen[2][0], seen[-1][0]
    assert (first.label, first.first_seen, first.last_seen) == ("dog", at(0), at(0.2))
    assert (last.first_seen, last.last_seen) == (at(0), at(1.9))


def test_appear_after_one_tells_at_once() -> None:
    assert [len(tracks) for tracks in play(tracker(appear_after=1), [[(box(100, 100), DOG, 0.9)]])] == [1]


def test_scattered_false_alarms_never_become_tracks() -> None:
    generator = np.random.default_rng(7)
    frames = [[(box(*generator.uniform(50, 600, 2)), DOG, 0.8)] if n % 4 == 0 else [] for n in range(200)]
    assert ids(play(tracker(), frames)) == set()


def test_a_weak_detection_continues_a_track_but_never_starts_one() -> None:
    weak = [[(box(100, 100), DOG, 0.25)]] * 30
    assert ids(play(tracker(), weak)) == set()
    strong = [[(box(100, 100), DOG, 0.8)]] * 3
    seen = play(tracker(leave_after_s=0.5), [*strong, *weak])
    assert seen[-1][0].last_seen == at(3.2)
    assert len(ids(seen)) == 1


def test_below_the_lower_bound_a_detection_is_noise() -> None:
    frames = [[(box(100, 100), DOG, 0.8)]] * 3 + [[(box(100, 100), DOG, 0.15)]] * 10
    assert play(tracker(leave_after_s=0.5), frames)[-1] == []


def test_a_gap_shorter_than_leave_after_keeps_the_id_on_a_moving_object() -> None:
    frames = [[] if 10 <= n < 18 else [(box(100 + 12 * n, 100), DOG, 0.9)] for n in range(40)]
    seen = play(tracker(leave_after_s=2), frames)
    assert len(ids(seen)) == 1
    assert seen[15] == []  # unseen for long, so not shown either
    assert seen[18][0].last_seen == at(1.8)


def test_a_gap_of_leave_after_ends_the_track() -> None:
    seen_frames = [[(box(100, 100), DOG, 0.9)]] * 5
    seen = play(tracker(leave_after_s=1), [*seen_frames, *[[]] * 10, *seen_frames])
    assert len(ids(seen)) == 2


def test_a_short_miss_shows_the_predicted_box() -> None:
    frames = [[(box(100 + 10 * n, 100), DOG, 0.9)] if n != 10 else [] for n in range(11)]
    track = play(tracker(), frames)[10][0]
    assert centre(track) == pytest.approx((200, 100), abs=1)
    assert track.last_seen == at(0.9)


def test_the_box_follows_without_lag_and_is_smoother_than_what_was_found() -> None:
    generator = np.random.default_rng(1)
    truth = np.stack([100 + 8.0 * np.arange(60), 200 + 3.0 * np.arange(60)], 1)
    noisy = truth + generator.normal(0, 3, truth.shape)
    seen = play(tracker(), [[(box(*xy), DOG, 0.9)] for xy in noisy])
    errors = np.array([centre(tracks[0]) for tracks in seen[10:]]) - truth[10:]
    assert np.abs(errors.mean(0)).max() < 1
    assert errors.std() < (noisy - truth)[10:].std() * 0.95


@pytest.mark.parametrize("step_px", [30, 45])
def test_a_small_fast_object_is_one_track(step_px: int) -> None:
    """Boxes 30 px wide that jump by their own width and more: no two ever overlap."""
    frames = [[(box(50 + step_px * n, 300, 30, 20), DOG, 0.8)] for n in range(15)]
    assert len(ids(play(tracker(), frames, fps=5))) == 1


def test_a_far_newcomer_is_not_taken_for_the_one_that_left() -> None:
    frames = [[(box(100, 100), DOG, 0.9)]] * 5 + [[(box(500, 300), DOG, 0.9)]] * 5
    assert len(ids(play(tracker(), frames))) == 2


def test_a_flickering_label_is_outvoted() -> None:
    frames = [[(box(100 + 4 * n, 100), SHEEP if n % 3 == 1 else DOG, 0.7)] for n in range(30)]
    seen = play(tracker(), frames)
    assert len(ids(seen)) == 1
    assert {track.label for tracks in seen for track in tracks} == {"dog"}


def test_the_vote_weighs_scores_and_may_turn() -> None:
    doubtful, sure = (box(100, 100), DOG, 0.5), (box(100, 100), SHEEP, 0.95)
    seen = play(tracker(), [[doubtful]] * 4 + [[sure]] * 8)
    assert len(ids(seen)) == 1
    assert (seen[3][0].label, seen[-1][0].label) == ("dog", "sheep")
    assert 0.9 < seen[-1][0].score < 0.95


def test_one_object_under_two_labels_is_one_track() -> None:
    frames = [[(box(100, 100), DOG, 0.8), (box(102, 101), SHEEP, 0.75)]] * 10
    assert len(ids(play(tracker(), frames))) == 1


def test_two_that_overlap_stay_two() -> None:
    """A person beside a dog: an overlap that is usual must not merge them, nor swap their labels."""
    frames = [[(box(200, 200, 80, 200), PERSON, 0.9), (box(230, 250, 100, 90), DOG, 0.8)]] * 10
    seen = play(tracker(), frames)
    assert len(ids(seen)) == 2
    assert all({track.label for track in tracks} == {"person", "dog"} for tracks in seen[2:])


def test_two_of_a_kind_cross_and_keep_their_ids() -> None:
    frames = [[(box(100 + 12 * n, 200), DOG, 0.9), (box(580 - 12 * n, 215), DOG, 0.9)] for n in range(40)]
    seen = play(tracker(), frames)
    assert len(ids(seen)) == 2
    left = next(track.id for track in seen[2] if centre(track)[0] < 300)
    assert next(track.id for track in seen[-1] if centre(track)[0] > 300) == left


def test_a_slow_recognizer_still_confirms_and_does_not_lose() -> None:
    """One update in three seconds, more than leave_after_s: what is found each time has never left."""
    seen = play(tracker(leave_after_s=2), [[(box(100 + n, 100), DOG, 0.9)] for n in range(6)], fps=1 / 3)
    assert [len(tracks) for tracks in seen] == [0, 0, 1, 1, 1, 1]
    assert len(ids(seen)) == 1


def test_two_frames_of_one_time_do_no_harm() -> None:
    tracks = tracker(appear_after=1)
    for x in (100, 104):
        tracks.update(detections([(box(x, 100), DOG, 0.9)]), at(0))
    assert centre(tracks.update(Detections.empty(), at(0))[0]) == pytest.approx((104, 100))


def test_clear_forgets() -> None:
    tracks = tracker()
    before = play(tracks, [[(box(100, 100), DOG, 0.9)]] * 5)
    tracks.clear()
    assert tracks.update(Detections.empty(), at(0.6)) == []
    after = play(tracks, [[(box(100, 100), DOG, 0.9)]] * 5)
    assert ids(before).isdisjoint(ids(after))


def test_ids_are_long_and_new_in_each_tracker() -> None:
    frames = [[(box(100 * n + 100, 100), DOG, 0.9) for n in range(5)]] * 3
    first, second = ids(play(tracker(), frames)), ids(play(tracker(), frames))
    assert len(first) == len(second) == 5
    assert first.isdisjoint(second)
    assert all(len(identity) >= 12 for identity in first | second)


def test_a_herd_with_misses_jitter_flicker_and_false_alarms() -> None:
    """Six animals for 20 s at 10 frames a second; a fifth of the detections is missing, a tenth is mislabelled."""
    generator = np.random.default_rng(3)
    start = np.array([[80, 80], [560, 100], [100, 400], [540, 380], [300, 60], [320, 420]], float)
    velocity = generator.uniform(-15, 15, start.shape)  # px per second
    frames = []
    for n in range(200):
        frame: list[Found] = []
        for truth in start + velocity * n / 10:
            if generator.random() < 0.8:
                label = SHEEP if generator.random() < 0.1 else DOG
                x, y = truth + generator.normal(0, 2, 2)
                frame.append((box(x, y), label, float(generator.uniform(0.3, 0.9))))
        if generator.random() < 0.1:
            frame.append((box(*generator.uniform(50, 430, 2)), PERSON, 0.6))
        frames.append(frame)
    seen = play(tracker(), frames)
    assert len(ids(seen)) == 6
    assert all(len(tracks) >= 5 for tracks in seen[10:])
    assert {track.label for tracks in seen[10:] for track in tracks} == {"dog"}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_is_found_the_tracks_are_sound(data: st.DataObject) -> None:
    coordinate = st.floats(-50, 700, width=32)
    size = st.floats(0, 300, width=32)
    tracks = tracker(appear_after=2)
    for n in range(data.draw(st.integers(1, 8))):
        found = data.draw(
            st.lists(st.tuples(coordinate, coordinate, size, size, st.integers(0, 2), st.floats(0.05, 1)), max_size=6)
        )
        seen = tracks.update(detections((box(x, y, w, h), k, s) for x, y, w, h, k, s in found), at(n / 10))
        assert len({track.id for track in seen}) == len(seen)
        for track in seen:
            assert np.isfinite(track.box).all()
            assert track.box[0] <= track.box[2] and track.box[1] <= track.box[3]
            assert 0 <= track.score <= 1
            assert track.first_seen.monotonic_ns <= track.last_seen.monotonic_ns <= at(n / 10).monotonic_ns


def detections_of(*found: tuple[float, int, tuple[float, float, float, float]]) -> Detections:
    scores, labels, boxes = zip(*found, strict=True)
    return Detections(np.array(boxes, np.float32), np.array(labels, np.int64), np.array(scores, np.float32))


def test_one_object_under_two_labels_is_one_detection() -> None:
    kept = distinct(detections_of((0.9, 0, (0, 0, 100, 100)), (0.3, 1, (4, 2, 101, 98))))
    assert kept.labels.tolist() == [0]


def test_a_part_goes_under_the_same_label_only() -> None:
    person, helmet = (0.9, 0, (0.0, 0.0, 50.0, 200.0)), (0.6, 1, (10.0, 0.0, 40.0, 30.0))
    legs = (0.5, 0, (5.0, 100.0, 45.0, 200.0))
    kept = distinct(detections_of(person, helmet, legs))
    assert kept.labels.tolist() == [0, 1]


def test_neighbours_and_nothing_stay_as_they_are() -> None:
    pair = detections_of((0.9, 0, (0, 0, 100, 100)), (0.8, 0, (60, 0, 160, 100)))
    assert len(distinct(pair)) == 2
    assert len(distinct(Detections.empty())) == 0


def test_one_who_comes_in_where_another_went_out_is_another() -> None:
    config = DetectConfig(appear_after=1, leave_after_s=5.0)
    tracks = Tracker(config, ["cow", "person"])
    cow = tracks.update(detections_of((0.9, 0, (0, 100, 80, 200))), at(0.0))
    tracks.update(Detections.empty(), at(0.5))
    person = tracks.update(detections_of((0.9, 1, (0, 60, 60, 200))), at(1.0))
    assert {t.label for t in cow} == {"cow"}
    assert {t.id for t in person if t.label == "person"}.isdisjoint({t.id for t in cow})
    assert "person" in {t.label for t in person}
