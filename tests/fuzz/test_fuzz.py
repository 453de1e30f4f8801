"""A few thousand spoilt inputs for every reader of outside bytes; `make fuzz` feeds a hundred thousand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.mutate import LARGEST, input_of
from tests.fuzz.run import ROOT, Plan, Tally, run, table
from tests.fuzz.targets import PLANTED, SHARES, WHERE

COUNT = 4000


def fuzzed(plan: Plan, *targets: str) -> list[Tally]:
    return run(plan, targets, lambda line: None)


@pytest.mark.timeout(600)
def test_no_reader_is_led_astray(tmp_path: Path) -> None:
    tallies = fuzzed(Plan(COUNT, seed=1, out=tmp_path, may_guide=False), *WHERE)
    print(table(tallies))
    assert [finding for tally in tallies for finding in tally.findings] == []
    assert sum(tally.inputs for tally in tallies) >= COUNT
    for tally in tallies:
        assert tally.taken and tally.refused, (
            f"{tally.target} is not tested by what is always taken, or always refused"
        )


def test_every_target_has_its_share() -> None:
    assert set(SHARES) == set(WHERE) and sum(SHARES.values()) == 100


FOUND = {
    "error": "KeyError: 'a bug'",
    "lines": "not one printable line",
    "secret": "tells a secret",
    "segfault": "the process ended with -11",
    "hang": "the process ended with 1",
    "memory": "MemoryError",
    "noise": "libexample: something odd",
    "thread": "ZeroDivisionError",
    "promise": "read something else",
    "batch": "descriptors grew",
}


@pytest.mark.parametrize("fault", FOUND)
def test_a_fault_is_found_told_and_kept(fault: str, tmp_path: Path) -> None:
    plan = Plan(30, seed=1, out=tmp_path / "findings", jobs=1, may_guide=False, hang_s=1.0, seconds=5.0)
    (tally,) = fuzzed(plan, f"planted-{fault}")
    assert FOUND[fault] in tally.findings[0]
    kept = Path(tally.findings[0].partition(": ")[0])
    assert fault == "batch" or b"trigger" in kept.read_bytes()
    reason = kept.with_suffix(".txt").read_text()
    assert f"python -m tests.fuzz repeat {kept}" in reason
    assert tally.inputs >= 30 or fault == "hang", "it goes on behind what it found"
    if fault == "hang":
        assert "in go_wrong" in reason, "where it hangs"
    if fault == "segfault":
        again = subprocess.run(
            [sys.executable, "-m", "tests.fuzz", "repeat", str(kept)], cwd=ROOT, capture_output=True
        )
        assert again.returncode == -11


def test_every_fault_that_is_planted_is_looked_for() -> None:
    assert [f"planted-{fault}" for fault in FOUND] == list(PLANTED)


def test_an_input_follows_from_its_number_alone() -> None:
    seeds, tokens = [b"kind = 7", b"[unit]\nname = 'a'\n"], [b"true"]
    first = [input_of("x", 1, number, seeds, tokens) for number in range(300)]
    assert first[200:] == [input_of("x", 1, number, seeds, tokens) for number in range(200, 300)]
    assert first != [input_of("x", 2, number, seeds, tokens) for number in range(300)]
    assert len(set(first)) > 250
    assert max(map(len, first)) <= LARGEST
