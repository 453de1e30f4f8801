"""What the lanes run on while the service runs: exchanged between two frames, and nobody's picture stops."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from edge.bundles.bundle import Bundle
from edge.closing import Closing
from edge.config import Config
from edge.engines.progress import BuildProgress
from edge.engines.renewal import Renewal, renewal_command
from edge.engines.store import EngineError
from edge.errors import RefusedError, StoppedError, TapetumError
from edge.lanes import ColourLane, DetectLane
from edge.priority import give_way
from edge.station import systemd
from edge.telemetry.payloads import BundleInfo
from edge.vision.backend import open_backend, open_engines
from edge.vision.base import Backend

log = logging.getLogger(__name__)

POLL_S = 0.2
EXTENSION_S = 60.0


class LiveBackend(Closing):
    """Opens what the lanes begin with, renews the bundle's engines, and swaps in what is better.

    Entering it starts nothing; leaving it ends a renewal. The lanes own what they run on.

    Attributes:
        bundle: the one that was chosen last.
    """

    def __init__(
        self,
        config: Config,
        bundle: Bundle,
        on_progress: Callable[[BuildProgress], None],
        cache_dir: Path | None = None,
    ) -> None:
        """`on_progress` is told of each step of a renewal, from a thread; `cache_dir` is that of `open_backend`."""
        self.bundle = bundle
        self._config, self._on_progress, self._cache_dir = config, on_progress, cache_dir
        self._running = BundleInfo(bundle.manifest.name, bundle.manifest.version, "", "")
        self._trouble = ""  # why newer engines of the bundle do not run
        self._engines: frozenset[Path] = frozenset()
        self._lanes: tuple[ColourLane, DetectLane] | None = None
        self._renewal: Renewal | None = None
        self._changing = threading.Lock()
        self._is_over = False

    @property
    def info(self) -> BundleInfo:
        """What detection runs on, for messages."""
        running, trouble = self._running, self._trouble
        return replace(running, runtime_detail=trouble) if trouble else running

    def close(self) -> None:
        """End a renewal; what runs is the lanes' own."""
        with self._changing:
            self._is_over = True
        self._stop_renewal()

    def open(self, stop: threading.Event, on_wait: Callable[[], None] = lambda: None) -> Backend:
        """The first backend, which the caller must close. With `service.runtime = "tensorrt"` engines are built first
        where none fit, which takes minutes.

        Args:
            stop: ends the wait.
            on_wait: called some times a second meanwhile.

        Raises:
            StoppedError: `stop` was set meanwhile.
            TapetumError: as `open_backend`, or the engines could not be built.
        """
        backend = self._open(stop, on_wait)
        log.info("%s %s runs the networks", backend.name, backend.precision)
        self._engines, self._running = backend.engines, _info(self.bundle, backend)
        return backend

    def run(self, colour: ColourLane, detect: DetectLane) -> None:
        """The lanes run on what `open` gave: from now on it can be exchanged, and its engines are renewed."""
        self._lanes = colour, detect
        with self._changing:
            if self._renewal is None:  # else they were built just now
                self._renew()

    def switch(self, backend: Backend, bundle: Bundle) -> None:
        """Let the lanes run on another backend, each from its next frame on; from any thread.

        They close the former one. Where the bundle is another too, its engines are renewed.

        Args:
            backend: taken over.
            bundle: which it was opened from.
        """
        with self._changing:
            is_other, self.bundle = bundle is not self.bundle, bundle
            self._swap(backend)
        if is_other:
            self._stop_renewal()
            with self._changing:
                if not self._is_renewing:
                    self._renew()

    def renew_engines(self) -> None:
        """Renew the bundle's engines in the background; those that are built are taken by the lanes.

        Raises:
            RefusedError: that is under way, or there is nothing to renew on this machine.
        """
        with self._changing:
            if self._is_renewing:
                raise RefusedError("the engines are being renewed already")
            if self._renew() is None:
                raise RefusedError(
                    "no engines are built here: there is no GPU with TensorRT, or engines.renew is off"
                )

    def _open(self, stop: threading.Event, on_wait: Callable[[], None]) -> Backend:
        try:
            return open_backend(self._config, self.bundle, cache_dir=self._cache_dir)
        except EngineError as error:
            renewal = self._renew()
            if renewal is None:
                raise
            log.warning("%s; they are built first, which takes minutes", error)
        _wait(renewal, stop, on_wait)
        try:
            return open_backend(self._config, self.bundle, cache_dir=self._cache_dir)
        except EngineError as error:  # of which systemd would give up: memory may be short, and not at the next start
            raise TapetumError(f"the engines were built, and do not work: {error}") from error

    @property
    def _is_renewing(self) -> bool:
        return self._renewal is not None and not self._renewal.is_over

    def _renew(self) -> Renewal | None:
        """Begin a renewal, unless nothing can be renewed. Once the lanes run, `_changing` is held."""
        bundle = self.bundle
        command = None if self._is_over else renewal_command(self._config, bundle)
        if command is None:
            return None
        take = partial(self._take_new_engines, bundle)
        self._renewal = Renewal(command, self._on_progress, take, self._ask_for_time)
        return self._renewal.__enter__()

    def _ask_for_time(self) -> None:
        """systemd shall wait for a start while engines are built. Later the same words would hold up its watchdog."""
        if self._lanes is None:
            systemd.extend_timeout(EXTENSION_S)

    def _stop_renewal(self) -> None:
        if self._renewal is not None:
            self._renewal.__exit__(None, None, None)

    def _take_new_engines(self, bundle: Bundle, has_built: bool) -> None:
        """In the renewal's thread: open what it built beside what runs, prove it on the newest frame, and swap.

        Where the CPU runs, engines that were there before are tried again: what was in their way may be over.
        """
        if self._lanes is None or self._config.engines.renew == "dry-run" or (self._engines and not has_built):
            return
        give_way()
        newest = self._lanes[0].newest
        try:
            backend = open_engines(self._config, bundle, newest[0].luma if newest else None)
        except TapetumError as error:
            log.warning("%s; going on without the new engines", error)
            with self._changing:
                if bundle is self.bundle:
                    self._trouble = str(error)
            return
        with self._changing:
            if bundle is self.bundle and backend.engines != self._engines:
                self._swap(backend)
                return
        backend.close()

    def _swap(self, backend: Backend) -> None:
        if self._lanes is None:
            raise ValueError("there are no lanes yet")
        (colour, detect), info = self._lanes, _info(self.bundle, backend)

        def detect_took() -> None:
            self._running = info
            log.info("%s %s runs the networks of %s %s now", info.runtime, info.precision, info.name, info.version)

        self._engines, self._trouble = backend.engines, ""
        colour.swap(backend.colourist)
        detect.swap(backend.detector, detect_took)


def _wait(renewal: Renewal, stop: threading.Event, on_wait: Callable[[], None]) -> None:
    while not renewal.is_over:
        on_wait()
        if stop.wait(POLL_S):
            raise StoppedError("stopped before the engines were built")
    if renewal.failure:  # no EngineError: what made it fail may be over when systemd starts the service again
        raise TapetumError(f"the engines could not be built: {renewal.failure}")


def _info(bundle: Bundle, backend: Backend) -> BundleInfo:
    manifest = bundle.manifest
    return BundleInfo(manifest.name, manifest.version, backend.precision, backend.name, backend.detail)
