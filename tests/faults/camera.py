"""The camera of a station, in the hands of the test."""

from __future__ import annotations

import signal
import struct
import subprocess
import sys
from pathlib import Path

from tests.e2e.service import ROOT
from tests.mosquitto import free_port


class Camera:
    """A camera process (camera_process.py) that shows the clips of `folder`; it may die, freeze and come back."""

    def __init__(self, folder: Path, fps: float) -> None:
        self.port = free_port()
        self._fps = fps
        self._made_file = folder / "made"
        self._command = [sys.executable, "-m", "tests.faults.camera_process", str(self.port), str(folder)]

    @property
    def made(self) -> int:
        """Pictures that the camera has made, over all its lives."""
        return int(struct.unpack("<Q", self._made_file.read_bytes())[0])

    def start(self) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(self._command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        self.set_fps(self._fps)

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def freeze(self) -> None:
        """Its lines stand, but no picture comes."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def set_fps(self, fps: float) -> None:
        """Pictures a second from now on, until it is started again."""
        self._order(str(fps))

    def show(self, clip: str) -> None:
        """The clip "big" or "small", until it is started again."""
        self._order(clip)

    def _order(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()

    def __enter__(self) -> Camera:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
