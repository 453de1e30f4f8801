"""`tapetum-edge demo` as a process, as a newcomer runs it; once as shipped, else with the tiny bundle and clip."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.tools.demo import CLIP
from tests.clip import HEIGHT, WIDTH, make_clip
from tests.e2e.service import PATIENCE_S, ROOT
from tests.edge.tiny_bundle import make_tiny_bundle
from tests.mosquitto import wait_until

REPORT_KEYS = {
    "frames_in",
    "frames_colour",
    "colour_fps",
    "detect_fps",
    "latency_ms",
    "events",
    "mqtt_messages",
    "rtsp_url",
    "peak_rss_mb",
    "start_s",
}
COLUMNS = 70
# The demo on another clip.
ON_CLIP = (
    "import sys, pathlib, edge.tools.demo, edge.__main__; edge.tools.demo.CLIP = pathlib.Path(sys.argv.pop(1));"
    "sys.exit(edge.__main__.main())"
)


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The demo on what starts fast, and where it is known what is seen."""
    folder = tmp_path_factory.mktemp("demo")
    clip, bundle = make_clip(folder / "night.mp4"), make_tiny_bundle(folder / "bundle")
    return [sys.executable, "-c", ON_CLIP, str(clip), "demo", "--bundle", str(bundle)]


@pytest.fixture(autouse=True)
def scratch_is_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo that is killed cannot remove its folder."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def finish(command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S
    )


def read_report(path: Path) -> dict[str, object]:
    report = json.loads(path.read_text())
    assert report.keys() == REPORT_KEYS
    latency_ms = report["latency_ms"]
    assert 0 < latency_ms["p50"] <= latency_ms["p99"] < 60_000
    assert 0 < report["frames_colour"] <= report["frames_in"]
    assert 0 < report["detect_fps"] <= 60 and 0 < report["colour_fps"] <= 60
    assert 0 < report["start_s"] < PATIENCE_S
    assert 50 < report["peak_rss_mb"] < 4000
    assert report["events"] > 0
    assert report["mqtt_messages"] >= report["events"] + 2, "events, health, online and offline"
    assert re.fullmatch(r"rtsp://127\.0\.0\.1:\d+/colour", report["rtsp_url"])
    return dict(report)


def check_snapshot(path: Path, width: int, height: int) -> None:
    """The grey frame on the left, the same frame in colour on the right."""
    picture = cv2.imread(str(path)).astype(int)
    assert picture.shape == (height, 2 * width, 3)
    grey, colour = picture[:, :width], picture[:, width:]
    assert np.ptp(grey, axis=2).max() == 0
    assert np.ptp(colour, axis=2).mean() > 5
    assert np.corrcoef(grey[..., 1].ravel(), colour.mean(2).ravel())[0, 1] > 0.9


def test_as_shipped(tmp_path: Path) -> None:
    report, snapshot = tmp_path / "report.json", tmp_path / "snapshot.png"
    options = ["--seconds", "8", "--report", report, "--snapshot", snapshot]
    result = finish([sys.executable, "-m", "edge", "demo", *options])
    assert (result.returncode, result.stderr) == (0, "")
    assert "  colour video  rtsp://127.0.0.1:" in result.stdout
    read_report(report)
    clip = cv2.VideoCapture(str(CLIP))
    width, height = (int(clip.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    clip.release()
    assert width >= 640
    check_snapshot(snapshot, width, height)


class Demo:
    """A demo whose output is read as it comes, from a pipe or a terminal."""

    def __init__(self, command: Sequence[str | Path], *, terminal: bool) -> None:
        self.text = ""
        ours, theirs = _terminal() if terminal else os.pipe()
        self.process = subprocess.Popen(
            [str(word) for word in command],
            cwd=ROOT,
            env=dict(os.environ),  # without COLUMNS, which readline sets in the environment of pytest's process
            stdout=theirs,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, args=[ours])
        self._reader.start()

    def wait_for(self, text: str) -> None:
        wait_until(lambda: text in self.text, PATIENCE_S, what=f"{text!r} in the output")

    def wait_end(self) -> tuple[int, str]:
        """Exit code and what was said on standard error."""
        _, stderr = self.process.communicate(timeout=PATIENCE_S)
        self._reader.join()
        return self.process.returncode, stderr

    def broker_port(self) -> int:
        found = re.search(r"broker +127\.0\.0\.1:(\d+)", self.text)
        assert found
        return int(found[1])

    def close(self) -> None:
        self.process.kill()
        self.wait_end()

    def _read(self, descriptor: int) -> None:
        with open(descriptor, "rb", buffering=0) as output:
            try:
                while data := output.read(4096):
                    self.text += data.decode()
            except OSError:  # how a terminal tells that nobody has it open any more
                pass


def _terminal() -> tuple[int, int]:
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    return ours, theirs


Start = Callable[..., Demo]


@pytest.fixture
def start(command: list[str]) -> Iterator[Start]:
    started: list[Demo] = []

    def run(*options: str | Path, terminal: bool = False) -> Demo:
        started.append(Demo([*command, *options], terminal=terminal))
        return started[-1]

    yield run
    for demo in started:
        demo.close()


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_in_a_terminal_until_ctrl_c(start: Start, tmp_path: Path) -> None:
    report, snapshot = tmp_path / "report.json", tmp_path / "snapshot.png"
    demo = start("--report", report, "--snapshot", snapshot, terminal=True)
    demo.wait_for(" in view ")
    demo.wait_for("  update ")
    demo.process.send_signal(signal.SIGINT)
    assert demo.wait_end() == (0, "")
    events = re.findall(r"\x1b\[2K\d\d:\d\d:\d\d  (appear|update|leave) +dog +0\.9\d  \[", demo.text)
    assert (events[0], events[-1]) == ("appear", "leave")
    assert read_report(report)["events"] == len(events)
    check_snapshot(snapshot, WIDTH, HEIGHT)
    live = re.findall(r"\r\x1b\[2K(colour[^\r\n]*)", demo.text)
    assert live
    assert all(len(line) < COLUMNS for line in live), "a line that wraps could not be erased"
    assert not is_open(demo.broker_port())


def test_in_a_pipe_it_writes_plain_lines_and_ends_by_itself(start: Start) -> None:
    demo = start("--seconds", "0.5")
    assert demo.wait_end() == (0, "")
    assert "\x1b" not in demo.text
    assert "\r" not in demo.text
    assert f"mosquitto_sub -h 127.0.0.1 -p {demo.broker_port()} -v -t 'tapetum/#'" in demo.text


def test_a_second_ctrl_c_ends_it_at_once_and_the_broker_too(start: Start) -> None:
    demo = start()
    demo.wait_for(" appear ")
    port, broker = demo.broker_port(), broker_of(demo.process.pid)
    os.kill(broker, signal.SIGSTOP)  # so that the last messages do not get through, and the end takes its time
    demo.process.send_signal(signal.SIGINT)
    demo.wait_for(" leave ")
    demo.process.send_signal(signal.SIGINT)
    assert demo.wait_end() == (-signal.SIGINT, "")
    os.kill(broker, signal.SIGCONT)
    wait_until(lambda: not is_open(port), what="the broker ends")


def broker_of(process: int) -> int:
    """The process of the mosquitto that the demo's shell runs."""

    def children(parent: int) -> list[int]:
        stats = [path.read_text().rpartition(")")[2].split() for path in Path("/proc").glob("[0-9]*/stat")]
        pids = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/stat")]
        return [pid for pid, stat in zip(pids, stats, strict=True) if int(stat[1]) == parent]

    grandchildren = [pid for child in children(process) for pid in children(child)]
    (broker,) = [pid for pid in grandchildren if "mosquitto" in Path(f"/proc/{pid}/cmdline").read_text()]
    return broker


def test_a_reader_that_goes_away_ends_it(command: list[str], tmp_path: Path) -> None:
    """`tapetum-edge demo | head -n 1`, which still writes its report."""
    report = tmp_path / "report.json"
    run = f'("$@" --report {report}; echo $? >&2) | head -n 1'
    result = finish(["sh", "-c", run, "sh", *command])
    assert result.stdout.startswith("Tapetum demo")
    assert result.stderr == "0\n"
    assert json.loads(report.read_text()).keys() == REPORT_KEYS


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--report", "/nowhere/report.json"], "/nowhere/report.json: cannot write: no such folder"),
        (["--snapshot", "/nowhere/night.png"], "/nowhere/night.png: cannot write: no such folder"),
        (["--snapshot", "night"], "night: unknown kind of picture: end the name in .png or .jpg"),
        (["--seconds", "0.1", "--report", "/proc"], "/proc: cannot write: "),
    ],
)
def test_what_cannot_be_written_is_told_in_one_line(command: list[str], options: list[str], words: str) -> None:
    result = finish([*command, *options])
    assert result.returncode == 1
    assert result.stderr.startswith(f"tapetum-edge: {words}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "soon"])
def test_seconds_are_a_number_above_0(command: list[str], seconds: str) -> None:
    result = finish([*command, "--seconds", seconds])
    assert result.returncode == 2
    assert f"{seconds!r} is not a number above 0" in result.stderr


def test_no_broker_is_left_behind_by_a_demo_that_cannot_start(command: list[str], tmp_path: Path) -> None:
    result = finish([*command, "--bundle", tmp_path])
    assert (result.returncode, result.stderr.count("\n")) == (4, 1)


def test_without_mosquitto(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import edge.tools.demo; edge.tools.demo.shutil.which = lambda *_, **__: None;"
    result = finish([command[0], "-c", program + ON_CLIP, *command[3:]])
    assert result.returncode == 1
    assert result.stderr == "tapetum-edge: mosquitto is not installed: sudo apt-get install mosquitto\n"
