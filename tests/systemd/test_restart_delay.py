"""The pause before a start: it grows with the failures in a row."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[2] / "systemd"


class Notes:
    """What systemd keeps for the script while it restarts the service; `sleep` only says how long."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        (folder / "bin" / "sleep").write_text('#!/bin/sh\necho "slept $1"\n')
        (folder / "bin" / "sleep").chmod(0o755)

    def call(self, verb: str, result: str = "") -> subprocess.CompletedProcess[str]:
        env = {
            "PATH": f"{self.folder}/bin:/usr/bin:/bin",
            "RUNTIME_DIRECTORY": str(self.folder),
            "SERVICE_RESULT": result,
        }
        return subprocess.run([SYSTEMD / "restart-delay", verb], env=env, capture_output=True, text=True, timeout=10)

    def pause_s(self) -> int:
        """What the next start waits."""
        result = self.call("wait")
        assert result.returncode == 0, result.stderr
        found = re.search(r"^slept (\d+)$", result.stdout, re.MULTILINE)
        return int(found[1]) if found else 0

    def end(self, result: str, *, after_s: int = 1) -> None:
        """The service ended so, after so long."""
        started = self.folder / "started"
        if started.exists():
            started.write_text(f"{_up_s() - after_s}\n")
        assert self.call("note", result).returncode == 0


def _up_s() -> int:
    return int(float(Path("/proc/uptime").read_text().split()[0]))


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path)


def test_it_doubles_from_the_second_failure_on_and_is_bounded(notes: Notes) -> None:
    pauses = []
    for _ in range(12):
        pauses.append(notes.pause_s())
        notes.end("exit-code")
    assert pauses == [0, 0, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]


@pytest.mark.parametrize("result", ["signal", "watchdog", "core-dump", "timeout", "oom-kill"])
def test_whatever_ends_the_service_counts(notes: Notes, result: str) -> None:
    for _ in "12":
        notes.pause_s()
        notes.end(result)
    assert notes.pause_s() == 4


def test_a_stop_by_hand_ends_the_row(notes: Notes) -> None:
    for _ in "123":
        notes.pause_s()
        notes.end("exit-code")
    notes.end("success")
    assert notes.pause_s() == 0


def test_a_long_run_ends_the_row(notes: Notes) -> None:
    for _ in "123":
        notes.pause_s()
        notes.end("exit-code")
    notes.pause_s()
    notes.end("exit-code", after_s=600)
    assert notes.pause_s() == 0
    notes.end("exit-code")
    assert notes.pause_s() == 4


def test_the_pause_itself_is_no_run(notes: Notes) -> None:
    """Else five minutes' pause, twice, would count as a long run."""
    (notes.folder / "failures").write_text("9\n")
    before_s = _up_s()
    assert notes.pause_s() == 300
    assert int((notes.folder / "started").read_text()) >= before_s + 300


def test_a_failure_before_the_first_start_counts(notes: Notes) -> None:
    notes.end("exit-code")
    notes.end("exit-code")
    assert notes.pause_s() == 4


def test_it_wants_a_verb(notes: Notes) -> None:
    result = notes.call("sleep")
    assert (result.returncode, result.stderr) == (2, "restart-delay: give wait or note\n")


def test_systemd_waits_longer_for_a_start_than_the_longest_pause() -> None:
    (longest_s,) = re.findall(r"^longest_s=(\d+)", (SYSTEMD / "restart-delay").read_text(), re.MULTILINE)
    (timeout_s,) = re.findall(
        r"^TimeoutStartSec=(\d+)$", (SYSTEMD / "tapetum-edge.service").read_text(), re.MULTILINE
    )
    assert int(timeout_s) > int(longest_s)
