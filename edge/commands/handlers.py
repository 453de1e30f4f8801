"""What each command does, by the parts of the service that do it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Protocol

from edge.commands.parse import (
    ActivateBundle,
    Command,
    RebuildEngines,
    RestartSource,
    RollBackBundle,
    SelfTest,
    SetValue,
    Snapshot,
)
from edge.commands.pictures import jpeg
from edge.errors import BundleError, RefusedError, TapetumError
from edge.settings import Settings
from edge.telemetry.fields import timestamp
from edge.telemetry.payloads import Answer
from edge.types import ColourFrame, Frame, SourceState, SourceStatus, UInt8Array
from edge.video.nv12 import to_bgr

RESTART_S = 10.0  # what a camera may take to give its first frame
POLL_S = 0.1


class Restartable(Protocol):
    """The source."""

    @property
    def status(self) -> SourceStatus: ...

    def restart(self) -> None: ...


class Switching(Protocol):
    """The bundles: what is asked for here goes on in the background. Returns the bundle's whole name."""

    def activate(self, name: str) -> str: ...

    def rollback(self) -> str: ...


class Check(Protocol):
    """One finding of the self-test; `state` is ok, warning or failed."""

    @property
    def name(self) -> str: ...

    @property
    def state(self) -> str: ...

    @property
    def detail(self) -> str: ...

    @property
    def cure(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Handlers:
    """Carries out commands with what they can reach of the service.

    Attributes:
        newest: the newest frame and its picture.
        quick_checks: the self-test's, one after the other.
        publish_snapshot: (topic below <prefix>/<unit>/snapshot/, JPEG).
        snapshot_max_kib: bound of each JPEG.
    """

    settings: Settings
    source: Restartable
    newest: Callable[[], tuple[Frame, ColourFrame] | None]
    bundles: Switching
    renew_engines: Callable[[], None]
    quick_checks: Callable[[], Iterable[Check]]
    publish_snapshot: Callable[[str, bytes], None]
    snapshot_max_kib: int

    def carry_out(self, command: Command) -> Answer:
        """Do it, and say what came of it.

        Raises:
            RefusedError: it cannot be done now; nothing has changed.
            TapetumError: it was tried in vain.
        """
        match command:
            case Snapshot():
                return self._snapshot(command)
            case RestartSource():
                return self._restart_source()
            case SetValue():
                return self._set(command)
            case ActivateBundle():
                return self._activate(command)
            case RollBackBundle():
                return Answer("started", data={"bundle": self.bundles.rollback()})
            case RebuildEngines():
                self.renew_engines()
                return Answer("started")
            case SelfTest():
                return self._self_test()
        raise ValueError(f"nobody carries out {command.name}")  # a kind that is new in parse.py alone

    def _snapshot(self, command: Snapshot) -> Answer:
        if (newest := self.newest()) is None:
            raise TapetumError("there was no frame yet: is the camera there?")
        frame, coloured = newest
        max_bytes = min(command.max_kib, self.snapshot_max_kib) * 1024
        pictures = {"colour": to_bgr(coloured.nv12), "nir": frame.luma}
        sent = {name: self._publish(f"{name}/{command.id}", it, max_bytes) for name, it in pictures.items()}
        return Answer("done", data={"time_utc": timestamp(frame.captured_at.utc), **sent})

    def _publish(self, topic: str, picture: UInt8Array, max_bytes: int) -> dict[str, object]:
        data, (width, height) = jpeg(picture, max_bytes)
        self.publish_snapshot(topic, data)
        return {"topic": f"snapshot/{topic}", "bytes": len(data), "width": width, "height": height}

    def _restart_source(self) -> Answer:
        rebuilds, end_s = self.source.status.rebuilds, time.monotonic() + RESTART_S
        self.source.restart()
        while time.monotonic() < end_s:
            status = self.source.status
            if status.rebuilds > rebuilds and status.state is SourceState.LIVE:
                return Answer("done", data={"rebuilds": status.rebuilds})
            time.sleep(POLL_S)
        raise TapetumError(f"no frame within {RESTART_S:g} s: {self.source.status.detail or 'the camera is silent'}")

    def _set(self, command: SetValue) -> Answer:
        before = asdict(self.settings.now).get(command.key)
        self.settings.set(command.key, command.value)
        return Answer("done", data={"key": command.key, "value": command.value, "before": before})

    def _activate(self, command: ActivateBundle) -> Answer:
        try:
            return Answer("started", data={"bundle": self.bundles.activate(command.bundle)})
        except BundleError as error:  # there is none of that name
            raise RefusedError(str(error)) from error

    def _self_test(self) -> Answer:
        checks = list(self.quick_checks())
        failed = [check.name for check in checks if check.state == "failed"]
        parts = ("name", "state", "detail", "cure")
        data = {"checks": [{part: getattr(check, part) for part in parts} for check in checks]}
        if failed:
            return Answer("failed", f"{len(failed)} of {len(checks)} checks: {', '.join(failed)}", data=data)
        return Answer("done", data=data)
