"""The service: starts the parts in order, watches them, stops them in reverse. The one composition root.

::

    spool -> MQTT -> RTSP -> backend -> lanes -> updates -> engines' renewal -> source -> commands    (and back)
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType

from edge.bundles.bundle import Bundle
from edge.commands.desk import CommandDesk, command_desk
from edge.commands.handlers import Handlers
from edge.conditions import Conditions
from edge.config import Config
from edge.errors import InputError
from edge.health import Health, Pulse
from edge.incumbent import Incumbent
from edge.lanes import ColourLane, DetectLane, show_card
from edge.live import LiveBackend
from edge.opening import writable_folder
from edge.reporting import Reporter, log_source
from edge.settings import Settings, Values
from edge.station import systemd
from edge.station.governor import Governor
from edge.station.sensors import Sensors
from edge.telemetry.mqtt import MqttClient
from edge.telemetry.spool import Spool
from edge.tools.doctor import quick_checks
from edge.types import Event, Frame, SourceState, UInt8Array
from edge.updates import Updates
from edge.video.rtsp import RtspServer
from edge.video.source import Source
from edge.vision.base import Backend
from edge.watch.station import StationWatch

log = logging.getLogger(__name__)

POLL_S = 0.2


class NoScreen:
    """In place of the RTSP server where it is switched off."""

    def push(self, mount: str, nv12: UInt8Array) -> None:
        """Nobody sees it."""

    def watching(self, mount: str) -> bool:
        """Nobody does."""
        return False


class App:
    """All parts, running from `__enter__` to `__exit__`.

    Raises on entering:
        StoppedError: `stop` was set while engines were built.
        TapetumError: a part cannot start (bundle, port, clip, secret, state folder); those before it are stopped.
    """

    def __init__(
        self,
        config: Config,
        on_event: Callable[[Event], None] | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """`on_event` is told of each event; `stop` ends a start that takes long."""
        self.config = config
        self.settings = Settings(config)
        self.events = 0
        self.ended_s = 0.0  # time.monotonic() of the stop
        self.rtsp_url: str | None = None
        self.mqtt: MqttClient | None = None
        self.rtsp: RtspServer | None = None
        self._on_event = on_event
        self._stop = stop or threading.Event()
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
        while not stop.wait(POLL_S):
            self._raise_faults()
            if self.source.status.state is SourceState.ENDED:
                log.info("the clip is over")
                return
            self._tell_ready()
            self._pulse.beat()
            self._reporter.health(self.health)
            every_poll()

    def switch(self, backend: Backend, bundle: Bundle) -> None:
        """Let the lanes run on another backend: see `LiveBackend.switch`."""
        self.live.switch(backend, bundle)

    def renew_engines(self) -> None:
        """Renew the engines of the bundle: see `LiveBackend.renew_engines`."""
        self.live.renew_engines()

    def _start(self, parts: ExitStack) -> None:
        config = self.config
        source = Source(config.source, self._deliver, log_source)  # first: its faults are told at once
        cache = writable_folder(Path(config.service.state_dir) / "networks")
        if config.mqtt.enabled:
            spool = parts.enter_context(Spool(Path(config.service.state_dir), config.spool))
            self.mqtt = parts.enter_context(MqttClient(config.mqtt, config.unit.name, spool))
        if config.rtsp.enabled:
            self.rtsp = parts.enter_context(RtspServer(config.rtsp))
            self.rtsp_url = self.rtsp.url("colour")
            log.info("video at %s and %s", self.rtsp_url, self.rtsp.url("nir"))
        self._reporter = Reporter(config, self.mqtt, self.rtsp)
        self._incumbent = parts.enter_context(Incumbent(config))
        self.conditions = parts.enter_context(Conditions(self._reporter.condition))
        self.governor = Governor(config.governor, config.detect.max_fps, self.conditions, Sensors())
        self._make_lanes(self._incumbent.open(partial(self._open, parts, cache)), source)
        parts.enter_context(self.detect)
        parts.enter_context(self.colour)
        parts.enter_context(self.governor)
        parts.enter_context(self.watch)
        self.live.run(self.colour, self.detect)
        lanes = self.colour, self.detect
        self.updates = parts.enter_context(Updates(config, self._incumbent, self.live, lanes, self._reporter.engines))
        self.health = Health(
            lambda: source.status,
            self.colour,
            self.detect,
            lambda: self.live.info,
            lambda: self.governor.state,
            lambda: self.conditions.on,
            lambda: self.updates.state,
        )
        self._pulse = Pulse([source, self.colour, self.detect])
        self.source = parts.enter_context(source)
        self.settings.watch(self._apply)
        if self.mqtt and config.commands.enabled:
            parts.enter_context(self._command_desk(self.mqtt))

    def _open(self, parts: ExitStack, cache: Path, bundle: Bundle) -> Backend:
        self.live = parts.enter_context(LiveBackend(self.config, bundle, self._reporter.engines, cache))
        return self.live.open(self._stop, partial(show_card, self.rtsp or NoScreen(), "the engines are being built"))

    def _make_lanes(self, backend: Backend, source: Source) -> None:
        """The lanes own what they run on from now on."""
        config, screen = self.config, self.rtsp or NoScreen()
        self.detect = DetectLane(config, backend.detector, self._publish, self.settings)
        self.colour = ColourLane(
            config,
            backend.colourist,
            screen,
            lambda: self.detect.tracks,
            lambda: source.status,
            lambda: self.governor.limits,
            self.settings,
        )
        state_dir = Path(config.service.state_dir)
        self.watch = StationWatch(config.station, self.conditions, lambda: self.detect.tracks, state_dir)

    def _command_desk(self, mqtt: MqttClient) -> CommandDesk:
        handlers = Handlers(
            self.settings,
            self.source,
            lambda: self.colour.newest,
            self.updates,
            self.renew_engines,
            lambda: quick_checks(self.config),
            mqtt.publish_snapshot,
            self.config.commands.snapshot_max_kib,
        )
        return command_desk(self.config, mqtt, handlers.carry_out)

    def _apply(self, values: Values) -> None:
        """What does not look at the settings by itself."""
        logging.getLogger().setLevel(values.log_level.upper())
        if self.rtsp:
            self.rtsp.set_bitrate(values.bitrate_kbps)

    def _deliver(self, frame: Frame) -> None:
        self.colour.put(frame)
        self.detect.put(frame)
        self.watch.put(frame)

    def _publish(self, event: Event) -> None:
        self.events += 1
        self._reporter.event(event, self.live.info)
        if self._on_event:
            self._on_event(event)

    def _tell_ready(self) -> None:
        """Ready is when the stream can be watched, be it the card."""
        state = self.source.status.state
        if not self._is_ready and (self.colour.newest or state is SourceState.LOST):
            self._is_ready = True
            systemd.ready(f"source {state.value}")

    def _raise_faults(self) -> None:
        for part in (self.source, self.colour, self.detect):
            if part.fault is not None:
                if part is not self.source:
                    self._incumbent.blame(part.fault)
                raise part.fault
        status = self.source.status
        if status.state is SourceState.FAILED:
            raise InputError(status.detail)
