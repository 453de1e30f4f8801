"""Real parts for the video tests: clips made by ffmpeg, a camera in its own process, a source that is watched."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from edge.sections import RtspConfig, SourceConfig
from edge.types import Frame, SourceState, SourceStatus, UInt8Array
from edge.video.nv12 import planes
from edge.video.rtsp import RtspServer
from edge.video.source import Source
from tests.waiting import until

HERE = Path(__file__).parent


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def ffmpeg(tmp_path: Path) -> Callable[..., Path]:
    """`ffmpeg("clip.mp4", "-f", "lavfi", ...)` makes a file and returns its path."""

    def make(name: str, *arguments: str) -> Path:
        path = tmp_path / name
        subprocess.run(["ffmpeg", "-v", "error", "-y", *arguments, str(path)], check=True)
        return path

    return make


class Watched:
    """A source with what it delivered and said."""

    def __init__(self, config: SourceConfig, on_frame: Callable[[Frame], None] = lambda frame: None) -> None:
        self.frames: list[Frame] = []
        self.said: list[SourceStatus] = []
        self._on_frame = on_frame
        self.source = Source(config, self._deliver, self.said.append)

    def _deliver(self, frame: Frame) -> None:
        self.frames.append(frame)
        self._on_frame(frame)

    @property
    def states(self) -> list[SourceState]:
        return [status.state for status in self.said]

    def wait_for_frames(self, more: int = 1) -> list[Frame]:
        """The next frames."""
        have = len(self.frames)
        until(lambda: len(self.frames) >= have + more)
        return self.frames[have:]

    def wait_for(self, state: SourceState) -> SourceStatus:
        until(lambda: self.source.status.state is state)
        return self.source.status


@pytest.fixture
def watch() -> Callable[..., object]:
    """`with watch(kind="file", path=...) as seen:` runs a source."""

    @contextmanager
    def run(*, on_frame: Callable[[Frame], None] = lambda frame: None, **source: object) -> Iterator[Watched]:
        watched = Watched(SourceConfig(**source), on_frame)
        with watched.source:
            yield watched

    return run


class Camera:
    """The process behind an rtsp:// address, which may die, freeze and come back."""

    def __init__(self, port: int, *login: str) -> None:
        self.url = f"rtsp://127.0.0.1:{port}/live"
        self._arguments = [sys.executable, str(HERE / "camera.py"), str(port), *login]
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._arguments, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        self._process.send_signal(signal.SIGCONT)
        self._process.kill()
        self._process.communicate()

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)


@pytest.fixture
def camera(free_port: int) -> Iterator[Callable[..., Camera]]:
    started: list[Camera] = []

    def start(*login: str) -> Camera:
        started.append(Camera(free_port, *login))
        return started[-1]

    yield start
    for one in started:
        one.kill()


class Screen:
    """An RTSP server that is shown a moving bar on one mount, 20 pictures a second, until told otherwise."""

    def __init__(self, server: RtspServer, mount: str = "colour") -> None:
        self.server, self.mount = server, mount
        self.size = (320, 240)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)
        self._thread.start()

    def _show(self) -> None:
        number = 0
        while not self._stopping.wait(0.05):
            self.server.push(self.mount, _bars(*self.size, number))
            number += 1

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()


def _bars(width: int, height: int, number: int) -> UInt8Array:
    """NV12: left half reddish and dark, right half bluish and bright, a white bar that moves along the top."""
    nv12 = np.empty((height * 3 // 2, width), np.uint8)
    y, chroma = planes(nv12)
    y[:, : width // 2], y[:, width // 2 :] = 60, 180
    chroma[:, : width // 4], chroma[:, width // 4 :] = (100, 180), (180, 100)
    left = number * 4 % (width - 16)
    y[: height // 8, left : left + 16] = 235
    return nv12


@pytest.fixture
def serve() -> Callable[..., object]:
    """`with serve(port=0) as screen:` runs a server that is shown pictures."""

    @contextmanager
    def run(*, mount: str = "colour", **rtsp: object) -> Iterator[Screen]:
        with RtspServer(RtspConfig(**{"port": 0, **rtsp})) as server:
            screen = Screen(server, mount)
            try:
                yield screen
            finally:
                screen.stop()

    return run
