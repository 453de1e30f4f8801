"""The service: starts the parts in order, watches them, stops them in reverse. The one composition root.

::

    networks -> MQTT -> RTSP -> lanes -> source        (and back)
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from edge import systemd
from edge.bundle import DEMO_BUNDLE, Bundle, load_bundle
from edge.config import Config
from edge.errors import InputError, TapetumError
from edge.health import Health, Pulse
from edge.lanes import ColourLane, DetectLane, Screen
from edge.networks import Networks
from edge.telemetry import payloads
from edge.telemetry.mqtt import MqttClient
from edge.types import Event, Frame, SourceState, SourceStatus, UInt8Array
from edge.video.rtsp import RtspServer
from edge.video.source import Source

log = logging.getLogger(__name__)

POLL_S = 0.2
RUNTIME = "openvino"


class NoScreen:
    """In place of the RTSP server where it is switched off."""

    def push(self, mount: str, nv12: UInt8Array) -> None:
        """Nobody sees it."""

    def watching(self, mount: str) -> bool:
        """Nobody does."""
        return False


def open_bundle(config: Config) -> Bundle:
    """The configured bundle, or the one that ships with Tapetum.

    Raises:
        BundleError: it is missing, altered, or lacks the precision.
    """
    folder = Path(config.bundle.path) if config.bundle.path else DEMO_BUNDLE
    return load_bundle(folder, config.bundle.precision)


class App:
    """All parts, running from `__enter__` to `__exit__`.

    Raises on entering:
        TapetumError: a part cannot start (bundle, port, clip, secret, state folder); those before it are stopped.
    """

    def __init__(self, config: Config, on_event: Callable[[Event], None] | None = None) -> None:
        self.config = config
        self.events = 0
        self.ended_s = 0.0  # time.monotonic() of the stop
        self.rtsp_url: str | None = None
        self.mqtt: MqttClient | None = None
        self.rtsp: RtspServer | None = None
        self._on_event = on_event
        self._is_ready = False
        self._parts = ExitStack()

    def __enter__(self) -> App:
        with self._parts as starting:
            self._start(starting)
            self._parts = starting.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        systemd.stopping()
        self.ended_s = time.monotonic()
        self._parts.__exit__(kind, error, trace)

    def run(self, stop: threading.Event, every_poll: Callable[[], None] = lambda: None) -> None:
        """Watch over the parts until `stop` is set or a clip that plays once is over.

        Raises:
            InputError: the clip cannot be played.
            BaseException: whatever ended a lane or the source.
        """
        health_due_s = 0.0
        while not stop.wait(POLL_S):
            self._raise_faults()
            if self.source.status.state is SourceState.ENDED:
                log.info("the clip is over")
                return
            self._tell_ready()
            self._pulse.beat()
            if time.monotonic() >= health_due_s:
                health_due_s = time.monotonic() + self.config.mqtt.health_interval_s
                self._report()
            every_poll()

    def _start(self, parts: ExitStack) -> None:
        config = self.config
        source = Source(config.source, self._deliver, self._source_changed)  # first: its faults are told at once
        cache = writable_folder(Path(config.service.state_dir) / "networks")
        bundle = open_bundle(config)
        # Half of the cores for each lane, so that detection never delays video.
        threads = max(1, len(os.sched_getaffinity(0)) // 2)
        networks = parts.enter_context(Networks(bundle, threads=threads, cache_dir=cache))
        networks.warm_up()
        manifest = bundle.manifest
        precision = bundle.precision if bundle.precision != "auto" else manifest.models["colorizer"].chosen
        self._bundle_info = payloads.BundleInfo(manifest.name, manifest.version, precision, RUNTIME)
        if config.mqtt.enabled:
            self.mqtt = parts.enter_context(MqttClient(config.mqtt, config.unit.name))
        screen: Screen = NoScreen()
        if config.rtsp.enabled:
            screen = self.rtsp = parts.enter_context(RtspServer(config.rtsp))
            self.rtsp_url = self.rtsp.url("colour")
            log.info("video at %s and %s", self.rtsp_url, self.rtsp.url("nir"))
        self.detect = DetectLane(config, networks, self._publish)
        self.colour = ColourLane(config, networks, screen, lambda: self.detect.tracks, lambda: source.status)
        parts.enter_context(self.detect)
        parts.enter_context(self.colour)
        self.health = Health(lambda: source.status, self.colour, self.detect, self._bundle_info)
        self._pulse = Pulse([source, self.colour, self.detect])
        self.source = parts.enter_context(source)

    def _deliver(self, frame: Frame) -> None:
        self.colour.put(frame)
        self.detect.put(frame)

    def _publish(self, event: Event) -> None:
        self.events += 1
        if self.mqtt:
            self.mqtt.publish_event(payloads.event(event, self.config.unit.name, self._bundle_info))
        if self._on_event:
            self._on_event(event)

    def _tell_ready(self) -> None:
        """Ready is when the stream can be watched, be it the card."""
        state = self.source.status.state
        if not self._is_ready and (self.colour.newest or state is SourceState.LOST):
            self._is_ready = True
            systemd.ready(f"source {state.value}")

    def _report(self) -> None:
        report = self.health.report(self.rtsp_url, self.rtsp.clients if self.rtsp else 0, self.mqtt)
        if self.mqtt:
            self.mqtt.publish_health(payloads.health(report, self.config.unit.name))
        systemd.status(f"source {report.source.state.value}, {report.fps_colour:.1f} colour frames/s")

    def _raise_faults(self) -> None:
        for part in (self.source, self.colour, self.detect):
            if part.fault is not None:
                raise part.fault
        status = self.source.status
        if status.state is SourceState.FAILED:
            raise InputError(status.detail)

    @staticmethod
    def _source_changed(status: SourceStatus) -> None:
        level = logging.WARNING if status.state in (SourceState.LOST, SourceState.FAILED) else logging.INFO
        size = f" {status.size[0]}x{status.size[1]}" if status.size else ""
        log.log(level, "source %s%s%s", status.state.value, size, f": {status.detail}" if status.detail else "")


def writable_folder(folder: Path) -> Path:
    """The folder, made where it is missing.

    Raises:
        TapetumError: it cannot be made or written to.
    """
    probe = folder / f".probe-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise TapetumError(
            f"{folder}: the state folder is not writable ({error.strerror}): "
            "set service.state_dir to a folder of the service's user"
        ) from error
    return folder
