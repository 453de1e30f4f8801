"""`tapetum-edge demo`: the whole service on the shipped clip, with a broker of its own, told in a terminal."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
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

from edge import machine
from edge.app import App
from edge.atomic import write_atomic
from edge.bundle import DEMO_BUNDLE
from edge.config import Config, parse_config
from edge.errors import TapetumError
from edge.rates import Meter
from edge.types import Event
from edge.video.nv12 import to_bgr

CLIP = DEMO_BUNDLE / "night.mp4"
BROKER_START_S = 5.0


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
    with tempfile.TemporaryDirectory(prefix="tapetum-") as scratch, broker(Path(scratch)) as port:
        config = _config(options, port, scratch)
        terminal = Terminal(config)
        with App(config, terminal.show_event) as app:
            terminal.introduce(app)
            deadline_s = time.monotonic() + (options.seconds or float("inf"))
            first_frame_s: list[float] = []

            def poll() -> None:
                if app.colour.newest and not first_frame_s:
                    first_frame_s.append(time.monotonic())
                terminal.show_status(app)
                if time.monotonic() >= deadline_s:
                    stop.set()

            app.run(stop, poll)
            if options.snapshot:
                write_snapshot(app, options.snapshot)
        terminal.close()
        if options.report:
            start_s = first_frame_s[0] - started_s if first_frame_s else None
            write_report(app, options.report, start_s, first_frame_s[0] if first_frame_s else started_s)


@contextmanager
def broker(scratch: Path) -> Iterator[int]:
    """A private mosquitto on a free loopback port, which is yielded.

    Raises:
        TapetumError: mosquitto is not installed or does not start.
    """
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        raise TapetumError("mosquitto is not installed: sudo apt-get install mosquitto")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    settings = scratch / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nlog_dest none\n", encoding="utf-8")
    process = subprocess.Popen(
        [program, "-c", str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        _await_port(process, port)
        yield port
    finally:
        process.terminate()
        process.wait()


def _await_port(process: subprocess.Popen[bytes], port: int) -> None:
    deadline_s = time.monotonic() + BROKER_START_S
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TapetumError(f"mosquitto does not start on 127.0.0.1:{port}")


class Terminal:
    """Addresses first, then events as they are published, with a live line below where there is a terminal."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._live = sys.stdout.isatty()
        self._line = threading.Lock()
        self._due_s = 0.0
        self._meters: tuple[Meter, Meter] | None = None

    def introduce(self, app: App) -> None:
        """Where to look."""
        mqtt, unit = self._config.mqtt, self._config.unit.name
        self._meters = Meter(app.colour.rate), Meter(app.detect.rate)
        lines = ["Tapetum demo: a night clip plays as the camera. Ctrl-C ends it.", ""]
        if app.rtsp:
            lines += [
                f"  colour video  {app.rtsp.url('colour')}   (ffplay -rtsp_transport tcp URL, or VLC)",
                f"  as seen (NIR) {app.rtsp.url('nir')}",
            ]
        lines += [
            f"  broker        {mqtt.host}:{mqtt.port}",
            f"  topics        {mqtt.prefix}/{unit}/events/#, .../health, .../status",
            f"                mosquitto_sub -h {mqtt.host} -p {mqtt.port} -v -t '{mqtt.prefix}/#'",
            "",
        ]
        print("\n".join(lines), flush=True)

    def show_event(self, event: Event) -> None:
        """One line for each published event."""
        track = event.track
        box = " ".join(f"{value:.0f}" for value in track.box)
        time_utc = event.frame_time.utc.strftime("%H:%M:%S")
        self._print(f"{time_utc}  {event.kind.value:<6} {track.label:<8} {track.score:.2f}  [{box}]  {track.id}")

    def show_status(self, app: App) -> None:
        """The live line, once a second; without a terminal every ten seconds, as a line of its own."""
        now_s = time.monotonic()
        if now_s < self._due_s or self._meters is None:
            return
        self._due_s = now_s + (1.0 if self._live else 10.0)
        colour, detect = (meter.read() for meter in self._meters)
        age_s = app.colour.context_age_s
        latency = "-" if colour.p50_ms is None else f"{colour.p50_ms:.0f} ms"
        context = "-" if age_s is None else f"{age_s:.1f} s"
        text = (
            f"colour {colour.per_second:4.1f} fps | detect {detect.per_second:4.1f} fps | latency {latency} | "
            f"{len(app.detect.tracks)} in view | context {context} old | mqtt {app.mqtt.published if app.mqtt else 0}"
        )
        if self._live:
            with self._line:
                print(f"\r\x1b[2K{text}", end="", flush=True)
        else:
            self._print(text)

    def close(self) -> None:
        """Leave the live line."""
        if self._live:
            print(flush=True)

    def _print(self, text: str) -> None:
        with self._line:
            print(f"\r\x1b[2K{text}" if self._live else text, flush=True)


def write_report(app: App, path: Path, start_s: float | None, since_s: float) -> None:
    """The demo's figures as JSON.

    Raises:
        TapetumError: the file cannot be written.
    """
    elapsed_s = max(app.ended_s - since_s, 1e-6)
    p50, p99 = app.colour.rate.latencies_ms()
    document: dict[str, Any] = {
        "frames_in": app.source.status.frames,
        "frames_colour": app.colour.rate.total,
        "colour_fps": round(app.colour.rate.total / elapsed_s, 2),
        "detect_fps": round(app.detect.rate.total / elapsed_s, 2),
        "latency_ms": {"p50": p50, "p99": p99},
        "events": app.events,
        "mqtt_messages": app.mqtt.published if app.mqtt else 0,
        "rtsp_url": app.rtsp_url,
        "peak_rss_mb": round(machine.peak_rss_mb(), 1),
        "start_s": start_s,
    }
    _write(path, (json.dumps(document, indent=1) + "\n").encode())


def write_snapshot(app: App, path: Path) -> None:
    """The newest grey frame and, to its right, the same frame in colour.

    Raises:
        TapetumError: there is no frame yet, or the file cannot be written.
    """
    if app.colour.newest is None:
        raise TapetumError(f"{path}: no frame to save yet")
    frame, coloured = app.colour.newest
    colour = to_bgr(coloured.nv12)[: frame.height, : frame.width]
    pair = np.hstack([cv2.cvtColor(frame.luma, cv2.COLOR_GRAY2BGR), colour])
    suffix = path.suffix or ".png"
    try:
        done, data = cv2.imencode(suffix, pair)
    except cv2.error as error:
        raise TapetumError(f"{path}: unknown kind of picture: end the name in .png or .jpg") from error
    if not done:
        raise TapetumError(f"{path}: cannot encode the picture")
    _write(path, data.tobytes())


def _write(path: Path, data: bytes) -> None:
    try:
        write_atomic(path, data)
    except OSError as error:
        raise TapetumError(f"{path}: cannot write: {error.strerror}") from error


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
