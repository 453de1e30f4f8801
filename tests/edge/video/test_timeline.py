"""One clock over loops and reconnects."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge.video.timeline import Timeline


def test_times_of_one_run_stay_as_they_are():
    timeline = Timeline()
    assert [timeline.join(t) for t in (0, 40, 80, 200)] == [0, 40, 80, 200]


def test_a_new_run_goes_on_one_step_later():
    timeline = Timeline()
    assert [timeline.join(t) for t in (0, 40, 80, 0, 40, 80, 0)] == [0, 40, 80, 120, 160, 200, 240]


def test_a_run_of_one_picture_goes_on_at_a_guessed_step():
    timeline = Timeline()
    assert [timeline.join(0) for _ in range(3)] == [0, 40_000_000, 80_000_000]


@given(st.lists(st.integers(0, 2**62), max_size=50))
def test_time_only_goes_forward(times):
    timeline = Timeline()
    joined = [timeline.join(t) for t in times]
    assert all(a < b for a, b in pairwise(joined))
