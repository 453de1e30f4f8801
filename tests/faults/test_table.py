"""What people read."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.service import ROOT
from tests.faults.document import document, outcomes_of
from tests.faults.measure import Outcome
from tests.faults.table import table


def test_medians_worst_and_what_went_wrong() -> None:
    good = Outcome("camera killed", 3, recover_s=[1.0, 3.0, 2.0], frames_lost=[5, 5, 5], events=30, events_repeated=2)
    good.rss_mb = [200.0, 210.0, 210.5, 211.0]
    bad = Outcome("broker killed", 1, recover_s=[1.0], frames_lost=[0], failed="lost\n two")
    lines = table([good, bad, Outcome("disk full", skipped="no tmpfs")]).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[2] == ["camera killed", "3", "2.0 (3.0)", "0 of 30", "5", "+1.0", "2 events came twice"]
    assert cells[3][-1] == "FAILED: lost two"
    assert cells[4] == ["disk full", "0", "", "", "", "", "skipped: no tmpfs"]
    assert len({len(line) for line in lines}) == 1


def test_the_file_gives_back_what_was_written(tmp_path: Path) -> None:
    outcomes = [Outcome("camera killed", 2, [1.0, 2.0], frames_lost=[3, 4]), Outcome("disk full", skipped="no tmpfs")]
    file = tmp_path / "faults.json"
    file.write_bytes(document({"scene": "drawn"}, outcomes))
    assert outcomes_of(file) == outcomes


def test_the_committed_table_is_that_of_the_measurements() -> None:
    measured = table(outcomes_of(ROOT / "docs" / "measurements" / "faults.json"))
    assert measured in (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
