"""What `tapetum-edge` tells in a terminal, or in a pipe whose reader may go away."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from edge.config import Config
from edge.rates import Meter
from edge.types import Event

if TYPE_CHECKING:
    from edge.app import App

_CLEAR = "\r\x1b[2K"  # back to the start of the line, and erase it (ECMA-48: EL)


def say(text: str, end: str = "\n") -> bool:
    """Print to standard output at once; False when nobody reads it any more, as behind `| head`."""
    try:
        print(text, end=end, flush=True)
    except BrokenPipeError:
        # What is left in the buffer goes nowhere; otherwise the interpreter would stumble over it at its end.
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        return False
    return True


class Terminal:
    """The demo's output: addresses first, then events, with a live line below them where there is a terminal.

    Sets `stop` when nobody reads it any more. Leaving it as a context manager ends the live line.
    """

    def __init__(self, config: Config, stop: threading.Event) -> None:
        self._config = config
        self._stop = stop
        self._live = sys.stdout.isatty()
        self._every_s = 1.0 if self._live else 10.0
        self._line = threading.Lock()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            say("")

    def introduce(self, app: App) -> None:
        """Where to look."""
        self._meters = Meter(app.colour.rate), Meter(app.detect.rate)
        self._due_s = time.monotonic() + self._every_s
        mqtt, unit = self._config.mqtt, self._config.unit.name
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
        self._print("\n".join(lines))

    def show_event(self, event: Event) -> None:
        """One line for each published event."""
        track = event.track
        limits = event.frame_size * 2  # a predicted box may leave the picture
        box = " ".join(f"{min(max(value, 0.0), limit):.0f}" for value, limit in zip(track.box, limits, strict=True))
        time_utc = event.frame_time.utc.strftime("%H:%M:%S")
        self._print(f"{time_utc}  {event.kind.value:<6} {track.label:<8} {track.score:.2f}  [{box}]  {track.id}")

    def show_status(self, app: App) -> None:
        """The live line, once a second; without a terminal every ten seconds, as a line of its own."""
        now_s = time.monotonic()
        if now_s < self._due_s:
            return
        self._due_s = now_s + self._every_s
        text = self._status(app)
        if self._live:
            # A line that wraps could not be erased.
            self._print(text[: shutil.get_terminal_size().columns - 1], end="")
        else:
            self._print(text)

    def _status(self, app: App) -> str:
        colour, detect = (meter.read() for meter in self._meters)
        age_s = app.colour.context_age_s
        latency = "-" if colour.p50_ms is None else f"{colour.p50_ms:.0f} ms"
        context = "-" if age_s is None else f"{age_s:.1f} s"
        return (
            f"colour {colour.per_second:4.1f} fps | detect {detect.per_second:4.1f} fps | latency {latency} | "
            f"{len(app.detect.tracks)} in view | context {context} old | mqtt {app.mqtt.published if app.mqtt else 0}"
        )

    def _print(self, text: str, end: str = "\n") -> None:
        with self._line:
            if not say(f"{_CLEAR}{text}" if self._live else text, end):
                self._stop.set()
