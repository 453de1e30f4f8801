"""The service: starts the parts in order, watches them, stops them in reverse. The one composition root.

::

    backend -> spool -> MQTT -> engines' renewal -> RTSP -> lanes -> source        (and back)
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from edge.bundles.bundle import DEMO_BUNDLE, Bundle, load_bundle
from edge.config import Config, credential
from edge.engines.progress import BuildProgress
from edge.engines.renewal import Renewal, renewal_command
from edge.errors import InputError, TapetumError
from edge.health import Health, Pulse
from edge.lanes import ColourLane, DetectLane, Screen
from edge.station import systemd
from edge.telemetry import payloads
from edge.telemetry.mqtt import MqttClient
from edge.telemetry.spool import Spool
from edge.types import Event, Frame, Instant, SourceState, SourceStatus, UInt8Array
from edge.video.rtsp import RtspServer
from edge.video.source import Source
from edge.vision.backend import open_backend

log = logging.getLogger(__name__)

POLL_S = 0.2
NEW_ENGINES = "new engines were built: the next start takes them"


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
        BundleError: it is missing, altered, not signed as asked for, or lacks the precision.
        ConfigError: the public key cannot be read.
    """
    wanted = config.bundle
    return load_bundle(
        Path(wanted.path) if wanted.path else DEMO_BUNDLE,
        wanted.precision,
        public_key=credential(wanted.public_key) if wanted.public_key else None,
        allow_refused=wanted.allow_refused,
    )


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
        backend = parts.enter_context(open_backend(config, bundle, cache_dir=cache))
        log.info("%s %s runs the networks", backend.name, backend.precision)
        manifest = bundle.manifest
        self._bundle_info = payloads.BundleInfo(
            manifest.name, manifest.version, backend.precision, backend.name, backend.detail
        )
        if config.mqtt.enabled:
            spool = parts.enter_context(Spool(Path(config.service.state_dir), config.spool))
            self.mqtt = parts.enter_context(MqttClient(config.mqtt, config.unit.name, spool))
        if renewal := renewal_command(config, bundle):
            parts.enter_context(Renewal(renewal, self._engines_renewed))
        screen: Screen = NoScreen()
        if config.rtsp.enabled:
            screen = self.rtsp = parts.enter_context(RtspServer(config.rtsp))
            self.rtsp_url = self.rtsp.url("colour")
            log.info("video at %s and %s", self.rtsp_url, self.rtsp.url("nir"))
        self.detect = DetectLane(config, backend.detector, self._publish)
        self.colour = ColourLane(config, backend.colourist, screen, lambda: self.detect.tracks, lambda: source.status)
        parts.enter_context(self.detect)
        parts.enter_context(self.colour)
        self.health = Health(lambda: source.status, self.colour, self.detect, lambda: self._bundle_info)
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

    def _engines_renewed(self, progress: BuildProgress) -> None:
        log.log(logging.DEBUG if progress.state == "building" else logging.INFO, "%s: %s", progress, progress.detail)
        if progress.state == "built" and self.config.engines.renew != "dry-run":
            self._bundle_info = replace(self._bundle_info, runtime_detail=NEW_ENGINES)
        if self.mqtt:
            self.mqtt.publish_engines(payloads.engines(progress, self.config.unit.name, Instant.now()))

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
