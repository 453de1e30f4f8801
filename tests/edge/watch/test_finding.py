"""Limits with a gap between them, and times that must pass on end."""

from __future__ import annotations

import pytest

from edge.watch.finding import GAP_S, Latch, judged


@pytest.mark.parametrize(
    ("value", "wrong", "well", "verdict"),
    [
        (1.0, 2.0, 3.0, True),
        (2.0, 2.0, 3.0, True),
        (2.5, 2.0, 3.0, None),
        (3.0, 2.0, 3.0, False),
        (4.0, 3.0, 2.0, True),
        (2.5, 3.0, 2.0, None),
        (1.0, 3.0, 2.0, False),
    ],
)
def test_either_side_may_be_the_wrong_one(value: float, wrong: float, well: float, verdict: bool | None) -> None:
    assert judged(value, wrong=wrong, well=well, detail="").is_wrong is verdict


def run(latch: Latch, findings: str, step_s: float = 1.0) -> str:
    """x wrong, . well, ? neither; the latch after each: # on, - off."""
    verdicts = {"x": True, ".": False, "?": None}
    return "".join(
        "#" if latch.update(verdicts[finding], step_s * second) else "-" for second, finding in enumerate(findings)
    )


def test_it_takes_its_time_in_both_directions() -> None:
    assert run(Latch(3, 2), "..xxxxx.....x") == "-----####----"


def test_what_breaks_the_row_starts_the_time_anew() -> None:
    assert run(Latch(3, 2), "xxx.xxx?xxxx") == "-----------#"


def test_a_doubtful_finding_changes_nothing() -> None:
    assert run(Latch(0, 2), "x?????.?.?...") == "############-"


def test_without_a_time_it_follows_at_once() -> None:
    assert run(Latch(0, 0), "x.x.") == "#-#-"


def test_a_gap_starts_the_time_anew() -> None:
    assert run(Latch(30, 0), "xxxx", step_s=GAP_S + 1) == "----"
    assert run(Latch(30, 0), "xxxx", step_s=GAP_S) == "--##"
