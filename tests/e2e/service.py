"""`tapetum-edge` as a process of its own, and what stands around it on a unit: a service manager and viewers.

ffmpeg and ffprobe are the viewers, so that nothing here shares code with edge/video.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.mosquitto import free_port, wait_until

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0  # for what takes two seconds on an idle machine
Sections = dict[str, dict[str, Any]]


def edge(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `tapetum-edge` to its end."""
    command = [sys.executable, "-m", "edge", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)


def write_config(path: Path, sections: Sections) -> Path:
    """TOML: strings, numbers and booleans are written as in JSON."""
    lines = []
    for section, keys in sections.items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


class ServiceManager:
    """systemd's end of the notification socket."""

    def __init__(self, path: Path) -> None:
        self.notes: list[str] = []
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def count(self, field: str) -> int:
        """How often a field was told, such as READY=1."""
        return sum(field in note.splitlines() for note in list(self.notes))

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.sendto(b"", str(self.path))
        self._reader.join()
        self._socket.close()

    def _read(self) -> None:
        while note := self._socket.recv(65536):
            self.notes.append(note.decode())


class Service:
    """`tapetum-edge run` between `with` and its end; killed if it still runs then."""

    def __init__(self, folder: Path, sections: Sections, env: Mapping[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        rtsp = {"port": self.port, **sections.get("rtsp", {})}
        self.state_dir = folder / "state"
        service = {"state_dir": str(self.state_dir), **sections.get("service", {})}
        governor = {"enabled": False, **sections.get("governor", {})}  # the test machine's own load is no matter
        config = write_config(
            folder / "edge.toml", {**sections, "rtsp": rtsp, "service": service, "governor": governor}
        )
        self._stderr = folder / "stderr"
        self._command = [sys.executable, "-m", "edge", "run", "--config", str(config)]
        self.manager = ServiceManager(folder / "notify")
        self._env = {**os.environ, "NOTIFY_SOCKET": str(self.manager.path), **(env or {})}

    def __enter__(self) -> Service:
        with self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(self._command, cwd=ROOT, stderr=stderr, env=self._env)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.manager.close()

    @property
    def stderr(self) -> str:
        return self._stderr.read_text(encoding="utf-8")

    def url(self, mount: str) -> str:
        return f"rtsp://127.0.0.1:{self.port}/{mount}"

    def wait_ready(self) -> None:
        """Until the service tells the service manager that it is up."""

        def is_ready() -> bool:
            assert self.process.poll() is None, self.stderr
            return self.manager.count("READY=1") == 1

        wait_until(is_ready, PATIENCE_S, what="the service is ready")

    def wait_end(self) -> int:
        """The exit code."""
        return self.process.wait(PATIENCE_S)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """The exit code after this signal."""
        self.process.send_signal(number)
        return self.wait_end()


def record(url: str, path: Path, frames: int) -> Path:
    """So many frames of a stream, as they come, in a file."""
    watch = ["ffmpeg", "-v", "error", "-rtsp_transport", "tcp", "-i", url, "-frames:v", str(frames), "-c", "copy"]
    subprocess.run([*watch, str(path)], check=True, timeout=PATIENCE_S)
    return path


def probe(path: Path) -> dict[str, Any]:
    """What ffprobe says of a file's only stream; `nb_read_frames` is how many frames it decoded."""
    command = ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-of", "json", str(path)]
    (stream,) = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["streams"]
    return dict(stream)


def pictures(path: Path, width: int, height: int) -> npt.NDArray[np.uint8]:
    """All frames of a file: uint8[N, height, width, 3], RGB."""
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


class Viewer:
    """Somebody who watches a stream all the time; `brightness` is the mean of the newest frame, 0..255."""

    def __init__(self, url: str) -> None:
        self.frames = 0
        self.brightness = float("nan")
        command = ["ffmpeg", "-v", "error", "-rtsp_transport", "tcp", "-i", url]
        command += ["-vf", "scale=1:1:flags=area", "-f", "rawvideo", "-pix_fmt", "gray", "-"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def wait_for(self, low: float, high: float) -> None:
        """Until a frame as bright as this comes, in the one session that this viewer has."""
        seen = self.frames

        def is_there() -> bool:
            assert self._process.poll() is None, "the stream was interrupted"
            return self.frames > seen and low <= self.brightness <= high

        wait_until(is_there, PATIENCE_S, what=f"a picture of brightness {low} to {high}")

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as pixels:
            while pixel := pixels.read(1):
                self.brightness = pixel[0]
                self.frames += 1
