"""`tapetum-edge doctor` as a process: on a pipe, on a terminal, and with a configuration of every kind."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edge.tools.doctor.check import Check
from edge.tools.doctor.lines import Display
from tests.e2e.service import ROOT, edge, write_config
from tests.mosquitto import free_port


@pytest.fixture
def config(tmp_path: Path) -> Path:
    service = {"state_dir": str(tmp_path / "state")}
    sections = {"service": service, "source": {"kind": "test"}, "rtsp": {"port": free_port()}}
    return write_config(tmp_path / "edge.toml", {**sections, "mqtt": {"enabled": False}})


def test_a_line_for_each_check(config: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.tar.gz"
    done = edge("doctor", "--config", config, "--bundle-report", report)
    assert (done.returncode, done.stderr) == (0, "")
    *checks, summary, written = done.stdout.splitlines()
    assert len(checks) == 17 and not [line for line in checks if not re.match(r"(ok|warning|failed) ", line)]
    assert re.fullmatch(r"\d+ ok(, \d+ warning)?", summary)
    assert written.startswith(str(report)) and report.exists()
    assert "\x1b" not in done.stdout
    again = edge("doctor", "--config", config, "--bundle-report", report)
    assert again.returncode == 2 and again.stdout == "" and "is not overwritten" in again.stderr
    assert not (tmp_path / "state").exists(), "looking changes nothing"


def test_what_fails_is_told_by_the_exit_code(config: Path) -> None:
    config.write_text(config.read_text().replace("enabled = false", f"port = {free_port()}"))
    done = edge("doctor", "--config", config)
    assert done.returncode == 1
    assert re.search(r"^failed +broker .*Connection refused -> check mqtt\.host", done.stdout, re.M)


def test_without_a_configuration_there_is_the_machine(tmp_path: Path) -> None:
    done = edge("doctor", "--config", tmp_path / "none.toml")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert "No such file" in lines[0] and lines[0].startswith("failed   configuration")
    assert [line.split()[1] for line in lines[1:-1]] == ["board", "clock", "GStreamer", "encoder", "TensorRT"]


def on_terminal(config: Path, columns: int) -> str:
    """What a terminal of this width is sent."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "edge", "doctor", "--config", config],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": str(columns), "TERM": "xterm"},
        stdout=theirs,
    )
    os.close(theirs)
    sent = b""
    try:
        while block := os.read(ours, 4096):
            sent += block
    except OSError:  # how a terminal ends
        pass
    os.close(ours)
    assert process.wait(60) in (0, 1)
    return sent.decode().replace("\r\n", "\n")


def test_a_terminal_of_80_columns_is_not_overrun(config: Path) -> None:
    config.write_text(config.read_text().replace("enabled = false", f"port = {free_port()}"))
    text = on_terminal(config, 80)
    plain = re.sub(r"\x1b\[[\d;]*m", "", text)
    assert "\x1b[1;31mfailed" in text and max(map(len, plain.splitlines())) < 80
    starts = [line for line in plain.splitlines()[:-1] if not line.startswith(" ")]
    assert len({line[:23].rstrip() for line in starts}) == 17
    assert all(line[22] == " " and line[23] != " " for line in starts), "aligned"
    assert re.search(r"^ {23}-> check mqtt\.host", plain, re.M)


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_may_be_declined(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Check("disk", "failed", "full", "make room")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b" in Display(Screen())(broken)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in Display(Screen())(broken)
