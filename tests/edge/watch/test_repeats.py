"""A rock among animals, over days: a look a second is a look each ten here, for speed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from edge.types import Box, Track
from edge.watch.finding import Finding
from edge.watch.repeats import ABSENT_S, GONE_S, PLACES, Repeats, overlap
from tests.edge.watch.pictures import at

AFTER_S = 3 * 3600.0
ROCK: Box = (300.0, 200.0, 380.0, 260.0)
STEP_S = 10.0

Scene = Callable[[float], list[Track]]


def track(box: Box, label: str = "sheep", key: str = "t") -> Track:
    return Track(key, label, 0.7, box, at(0), at(0))


def around(box: Box, px: float) -> Box:
    """As a recognizer finds it again: a little off, each time."""
    x0, y0, x1, y1 = (value + random.uniform(-px, px) for value in box)
    return x0, y0, x1, y1


def hours(repeats: Repeats, count: float, scene: Scene, start_s: float = 0.0) -> Finding:
    """The finding after so many hours of a scene."""
    steps = round(count * 3600 / STEP_S)
    finding = Finding(None)
    for step in range(steps + 1):
        now_s = start_s + step * STEP_S
        finding = repeats.look(scene(now_s), now_s)
    return finding


@pytest.fixture(autouse=True)
def same_luck() -> None:
    random.seed(4)


def test_a_rock_is_told_with_label_place_and_time() -> None:
    repeats = Repeats(AFTER_S)
    rock: Scene = lambda now_s: [track(around(ROCK, 4))]  # noqa: E731
    assert hours(repeats, 2.5, rock).is_wrong is not True
    finding = hours(repeats, 1.5, rock, 2.5 * 3600)
    assert finding.is_wrong is True
    assert finding.detail.startswith("sheep at x 30") or finding.detail.startswith("sheep at x 29")
    assert "h in 1 visits" in finding.detail


def test_one_that_is_seen_now_and_then_is_told_with_its_visits() -> None:
    def flickering(now_s: float) -> list[Track]:
        return [track(around(ROCK, 4))] if now_s % 1200 < 400 else []

    finding = hours(Repeats(AFTER_S), 16, flickering)
    assert finding.is_wrong is True
    visits = int(finding.detail.split(" h in ")[1].split()[0])
    assert 25 < visits <= 48


def test_it_goes_off_when_the_rock_has_gone_for_long_and_not_before() -> None:
    repeats = Repeats(AFTER_S)
    hours(repeats, 4, lambda now_s: [track(ROCK)])
    assert hours(repeats, GONE_S / 3600 - 0.1, lambda now_s: [], 4 * 3600).is_wrong is True
    assert hours(repeats, 0.2, lambda now_s: [], 4 * 3600 + GONE_S - 360).is_wrong is False


def test_a_herd_that_grazes_is_none() -> None:
    def herd(now_s: float) -> list[Track]:
        """Ten animals that never stop for long."""
        angles = [now_s / 900 + animal for animal in range(10)]
        boxes = [(300 + 250 * math.cos(a), 200 + 150 * math.sin(a)) for a in angles]
        return [track((x, y, x + 70, y + 50)) for x, y in boxes]

    assert hours(Repeats(AFTER_S), 12, herd).is_wrong is False


def test_a_waterhole_where_animals_of_all_sizes_come_is_none() -> None:
    def drinking(now_s: float) -> list[Track]:
        luck = random.Random(int(now_s // 300))
        if luck.random() < 0.5:
            return []
        width, x = luck.uniform(40, 200), luck.uniform(200, 300)
        return [track((x, 200, x + width, 200 + width * luck.uniform(0.5, 1.2)))]

    assert hours(Repeats(AFTER_S), 24, drinking).is_wrong is False


def test_labels_are_apart() -> None:
    repeats = Repeats(AFTER_S)
    labels = ("sheep", "cow", "dog")
    finding = hours(repeats, 6, lambda now_s: [track(ROCK, labels[int(now_s // 10) % 3])])
    assert finding.is_wrong is None, "two hours each: enough to wonder, too little to tell"


def test_what_was_seen_long_ago_fades() -> None:
    repeats = Repeats(AFTER_S)
    hours(repeats, 2.5, lambda now_s: [track(ROCK)])
    hours(repeats, 48, lambda now_s: [], 3 * 3600)
    assert hours(repeats, 1, lambda now_s: [track(ROCK)], 51 * 3600).is_wrong is False


def test_places_are_bounded_and_a_new_one_can_still_grow() -> None:
    repeats = Repeats(3600.0)
    for number in range(3 * PLACES):
        for look in range(3):
            x, y = 10.0 * (number % 60), 10.0 * (number // 60)
            repeats.look([track((x, y, x + 5, y + 5))], number * ABSENT_S * 2 + look)
    later_s = 3 * PLACES * ABSENT_S * 2
    assert hours(repeats, 1.5, lambda now_s: [track((900, 900, 950, 950))], later_s).is_wrong is True
    assert len(repeats._places) <= PLACES


@pytest.mark.parametrize(
    ("box", "iou"),
    [((0, 0, 10, 10), 1.0), ((5, 0, 15, 10), 1 / 3), ((10, 0, 20, 10), 0.0), ((50, 50, 60, 60), 0.0)],
)
def test_overlap(box: Box, iou: float) -> None:
    assert overlap((0, 0, 10, 10), box) == pytest.approx(iou)


def test_boxes_without_an_area_overlap_nothing() -> None:
    assert overlap((5, 5, 5, 5), (5, 5, 5, 5)) == 0.0
