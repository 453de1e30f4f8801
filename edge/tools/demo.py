"""`tapetum-edge demo`: the whole service on the shipped clip, with a broker of its own, told in a terminal."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.app import App
from edge.atomic import write_atomic
from edge.bundles.bundle import DEMO_BUNDLE
from edge.config import Config, parse_config
from edge.errors import TapetumError
from edge.station import machine
from edge.tools.terminal import Terminal
from edge.video.nv12 import to_bgr

CLIP = DEMO_BUNDLE / "night.mp4"
BROKER_START_S = 10.0
# Runs the broker until its own standard input ends. Our end of that pipe closes with the demo, however it ends.
_WITH_US = '"$0" -c "$1" & cat; kill $!; wait'


@dataclass(frozen=True)
class DemoOptions:
    """What the command line asks for; `seconds` None runs until Ctrl-C."""

    seconds: float | None = None
    report: Path | None = None
    snapshot: Path | None = None
    bundle: str = ""


def demo(options: DemoOptions, stop: threading.Event, started_s: float) -> None:
    """Run the demo until its time is over or `stop` is set.

    Args:
        started_s: time.monotonic() at the start of the process, for `start_s` of the report.

    Raises:
        TapetumError: a part cannot start, or a file cannot be written.
    """
    _check_outputs(options)
    with tempfile.TemporaryDirectory(prefix="tapetum-") as scratch, broker(Path(scratch)) as port:
        config = _config(options, port, scratch)
        with Terminal(config, stop) as terminal, App(config, terminal.show_event) as app:
            terminal.introduce(app)
            deadline_s = time.monotonic() + (options.seconds or float("inf"))

            def poll() -> None:
                terminal.show_status(app)
                if time.monotonic() >= deadline_s:
                    stop.set()

            app.run(stop, poll)
    if options.report:
        write_report(app, options.report, started_s)
    if options.snapshot:
        write_snapshot(app, options.snapshot)


@contextmanager
def broker(scratch: Path) -> Iterator[int]:
    """A private mosquitto on a free loopback port, which is yielded.

    Raises:
        TapetumError: mosquitto is not installed or does not start.
    """
    program = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if program is None:
        raise TapetumError("mosquitto is not installed: sudo apt-get install mosquitto")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    settings = scratch / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nlog_dest none\n", encoding="utf-8")
    command = ["/bin/sh", "-c", _WITH_US, program, str(settings)]
    null = subprocess.DEVNULL
    # In a session of its own: Ctrl-C in the terminal is for us, and the broker outlives our last messages.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=null, stderr=null, start_new_session=True):
        _await_port(port)
        yield port


def _await_port(port: int) -> None:
    deadline_s = time.monotonic() + BROKER_START_S
    while time.monotonic() < deadline_s:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TapetumError(f"mosquitto does not start on 127.0.0.1:{port}")


def write_report(app: App, path: Path, started_s: float) -> None:
    """The figures of a demo that is over, as JSON. Rates count from the first frame of their lane.

    Raises:
        TapetumError: the file cannot be written.
    """
    colour, detect = app.colour.rate, app.detect.rate
    p50, p99 = colour.latencies_ms()
    document: dict[str, Any] = {
        "frames_in": app.source.status.frames,
        "frames_colour": colour.total,
        "colour_fps": _rounded(colour.per_second_until(app.ended_s)),
        "detect_fps": _rounded(detect.per_second_until(app.ended_s)),
        "latency_ms": {"p50": _rounded(p50), "p99": _rounded(p99)},
        "events": app.events,
        "mqtt_messages": app.mqtt.published if app.mqtt else 0,
        "rtsp_url": app.rtsp_url,
        "peak_rss_mb": _rounded(machine.peak_rss_mb()),
        "start_s": None if colour.began_s is None else _rounded(colour.began_s - started_s),
    }
    _write(path, (json.dumps(document, indent=1) + "\n").encode())


def write_snapshot(app: App, path: Path) -> None:
    """The newest grey frame and, to its right, the same frame in colour.

    Raises:
        TapetumError: there was no frame, or the file cannot be written.
    """
    if app.colour.newest is None:
        raise TapetumError(f"{path}: there was no frame to save")
    frame, coloured = app.colour.newest
    colour = to_bgr(coloured.nv12)[: frame.height, : frame.width]
    pair = np.hstack([cv2.cvtColor(frame.luma, cv2.COLOR_GRAY2BGR), colour])
    done, data = cv2.imencode(path.suffix, pair)
    if not done:
        raise TapetumError(f"{path}: cannot encode the picture")
    _write(path, data.tobytes())


def _check_outputs(options: DemoOptions) -> None:
    """Tell now what would otherwise be told when all is over."""
    for path in (options.report, options.snapshot):
        if path and not path.parent.is_dir():
            raise TapetumError(f"{path}: cannot write: no such folder")
    if options.snapshot and not cv2.haveImageWriter(options.snapshot.name):
        raise TapetumError(f"{options.snapshot}: unknown kind of picture: end the name in .png or .jpg")


def _write(path: Path, data: bytes) -> None:
    try:
        write_atomic(path, data)
    except OSError as error:
        raise TapetumError(f"{path}: cannot write: {error.strerror}") from error


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _config(options: DemoOptions, broker_port: int, state_dir: str) -> Config:
    return parse_config(
        {
            "unit": {"name": "demo"},
            "service": {"state_dir": state_dir},
            "source": {"kind": "file", "path": str(CLIP), "loop": True},
            "bundle": {"path": options.bundle},
            "rtsp": {"port": 0},
            "mqtt": {"port": broker_port},
        },
        origin="demo",
    )
