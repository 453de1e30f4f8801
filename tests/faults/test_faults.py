"""Faults at a whole station. Four of them in each run, all in `make test-all`; `make faults` measures them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.service import ROOT
from tests.faults.catalogue import FAULTS, Fault
from tests.faults.measure import Outcome, measure, settle, strike
from tests.faults.scene import Scene, drawn
from tests.faults.station import CAMERA_FPS, Station

QUICK = ("camera killed", "broker killed", "killed at random", "viewers send garbage")
BY_NAME = {fault.name: fault for fault in FAULTS}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return drawn(tmp_path_factory.mktemp("scene"))


def test_the_unit_recovers_from_the_usual_and_loses_no_event(scene: Scene, tmp_path: Path) -> None:
    """One unit, one fault after the other."""
    outcome = Outcome("the usual")
    with Station(tmp_path, scene) as station:
        station.wait_well()
        for name in QUICK:
            strike(BY_NAME[name], station, outcome)
        settle(station, outcome)
    assert not outcome.failed
    assert (outcome.times, outcome.events_lost, outcome.restarts) == (len(QUICK), 0, 1)
    assert outcome.events > 10
    assert "Traceback" not in station.unit.log


@pytest.mark.slow
def test_what_is_lost_is_told(scene: Scene) -> None:
    """A spool that somebody deletes: the proof of the others must be able to fail."""

    @contextmanager
    def spool_deleted(station: Station) -> Iterator[None]:
        station.broker.kill()
        time.sleep(5)
        station.unit.kill()
        time.sleep(1)  # less than until the restart
        for file in station.state_dir.glob("spool.db*"):
            file.unlink()
        yield
        station.broker.start()

    outcome = measure(Fault("spool deleted", spool_deleted), 1, scene, CAMERA_FPS)
    assert outcome.events_lost > 0
    assert "not even" in outcome.failed


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", sorted(BY_NAME.keys() - set(QUICK)))
def test_all_others(name: str, tmp_path: Path) -> None:
    """In namespaces of their own, where that is allowed."""
    out = tmp_path / "faults.json"
    command = [sys.executable, "-m", "tests.faults", "--times", "1", "--scene", "drawn", "--exactly", name]
    done = subprocess.run([*command, "--out", str(out)], cwd=ROOT, capture_output=True, text=True)
    (outcome,) = json.loads(out.read_text())["faults"]
    if outcome["skipped"]:
        pytest.skip(outcome["skipped"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert outcome["events_lost"] == 0


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_short_soak(tmp_path: Path) -> None:
    """The figures of a minute say nothing; that there are figures, and a plot, does."""
    command = [sys.executable, "-m", "tests.faults.soak", "--minutes", "1", "--scene", "drawn", "--calm", "2"]
    subprocess.run([*command, "--out", str(tmp_path)], cwd=ROOT, capture_output=True)
    found = json.loads((tmp_path / "soak.json").read_text())
    assert (found["summary"]["deaths"], found["summary"]["events_lost"]) == (0, 0)
    assert found["summary"]["balance_even"]
    assert len(found["course"]["rss_mb"]) > 30
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG")
