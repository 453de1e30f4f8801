"""The judge, on figures that are known."""

from __future__ import annotations

import numpy as np
import pytest

from edge.bundles.trial import FRAMES, Comparison, mean_chroma
from edge.types import Detections, UInt8Array


def picture(chroma: int) -> UInt8Array:
    """Grey luma; Cb and Cr are so far from grey."""
    nv12 = np.full((12, 8), 100, np.uint8)
    nv12[8:] = 128 + chroma
    return nv12


def boxes(*lefts: float, score: float = 0.9) -> Detections:
    found = np.array([(x, 0, x + 10, 10) for x in lefts], np.float32).reshape(-1, 4)
    return Detections(found, np.zeros(len(lefts), np.int64), np.full(len(lefts), score, np.float32))


def judged(
    reference: Detections,
    subject: Detections,
    *,
    chroma: tuple[int, int] = (20, 20),
    ms: tuple[float, float] = (10, 10),
    frames: int = 2 * FRAMES,
    grey: int = 0,
) -> Comparison:
    comparison = Comparison(0.5)
    for _ in range(frames):
        comparison.add_pictures(picture(chroma[0]), picture(chroma[1]), *ms)
        comparison.add_detections(reference, subject, *ms)
    comparison.grey_frames = grey
    return comparison


ONE, NONE = boxes(5), boxes()


@pytest.mark.parametrize(
    ("reference", "subject", "more"),
    [
        (ONE, ONE, {}),
        (NONE, NONE, {}),
        (ONE, boxes(8), {}),  # shifted
        (boxes(0, 50), boxes(0), {}),  # half of them
        (NONE, boxes(0, 50, 100, 150), {}),  # sees more
        (boxes(0, score=0.4), NONE, {}),  # what the service would not tell
        (ONE, ONE, {"ms": (10, 49)}),
        (ONE, ONE, {"chroma": (20, 6)}),
        (ONE, ONE, {"chroma": (1, 0)}),  # no colour to begin with
        (ONE, NONE, {"frames": FRAMES - 1}),  # too early
    ],
)
def test_no_trouble(reference: Detections, subject: Detections, more: dict[str, object]) -> None:
    assert judged(reference, subject, **more).trouble() == ""  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reference", "subject", "more", "reason"),
    [
        (ONE, NONE, {}, "found 0 of the 40 objects that the other found"),
        (ONE, boxes(100), {}, "found 0 of the 40"),
        (ONE, boxes(5, score=0.4), {}, "found 0 of the 40"),
        (boxes(0, 50, 100), boxes(0), {}, "found 40 of the 120"),
        (NONE, boxes(*range(0, 100, 20)), {}, "found 5.0 objects a frame, the other 0.0"),
        (ONE, ONE, {"ms": (10, 51)}, "too slow: colour takes 51.0 ms, the other 10.0"),
        (ONE, ONE, {"chroma": (20, 4)}, "hardly any colour: mean chroma 4.0 levels, the other's 20.0"),
        (ONE, ONE, {"grey": 1, "frames": 1}, "1 frames were grey"),
    ],
)
def test_trouble(reference: Detections, subject: Detections, more: dict[str, object], reason: str) -> None:
    assert reason in judged(reference, subject, **more).trouble()  # type: ignore[arg-type]


@pytest.mark.parametrize(("quickest_ms", "is_too_slow"), [(30.0, False), (51.0, True)])
def test_a_thread_that_gives_way_is_judged_by_its_quickest_frame(quickest_ms: float, is_too_slow: bool) -> None:
    comparison = Comparison(0.5, gives_way=True)
    for number in range(2 * FRAMES):
        ms = (10, 400 if number else quickest_ms)
        comparison.add_pictures(picture(20), picture(20), *ms)
        comparison.add_detections(ONE, ONE, *ms)
    assert bool(comparison.trouble()) is is_too_slow


def test_what_it_says() -> None:
    assert str(judged(ONE, ONE, ms=(10, 12))) == (
        "40 frames: found 40 of the 40 objects that the other found; colour in 12.0 ms (the other 10.0), "
        "detection in 12.0 ms (10.0)"
    )
    assert judged(ONE, ONE).has_objects and not judged(NONE, ONE).has_objects


def test_mean_chroma() -> None:
    assert mean_chroma(picture(-7)) == 7
