"""The bundle that the service runs: which one it starts with, and which comes after it when it fails."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from edge.bundles.bundle import Bundle
from edge.bundles.state import CRASHES, SHIPPED, State
from edge.bundles.store import BundleStore
from edge.config import Config
from edge.engines.store import EngineError
from edge.errors import BundleError, TapetumError, one_line
from edge.inference.cuda import CudaError
from edge.opening import networks_dir, open_bundle, open_stored
from edge.vision.backend import open_backend
from edge.vision.base import Backend

log = logging.getLogger(__name__)

Opened = TypeVar("Opened")


class Incumbent:
    """Counts a run of the service, from `open` to `__exit__`: one that does not come there ended without order.

    Attributes:
        store: of all bundles.
        is_fixed: `bundle.path` names the bundle: the store is not used.
        name: of the bundle that runs.
        news: the last thing that happened to a bundle.
        left_s: of its probation, None where it is on none.
    """

    def __init__(self, config: Config) -> None:
        self.store = BundleStore(Path(config.service.state_dir))
        self.is_fixed = bool(config.bundle.path)
        self.name = SHIPPED
        self.news = ""
        self.left_s: float | None = None
        self._config = config

    def __enter__(self) -> Incumbent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.left_s is not None:
            left_s = max(0.0, self.left_s)
            self._step(State(), lambda state: state.run_ended(left_s))

    def open(self, opened: Callable[[Bundle], Opened]) -> Opened:
        """What `opened` makes of the active bundle; of the one before it where that one does not work.

        Raises:
            TapetumError: not even the shipped bundle works, or the fault is not the bundle's.
        """
        if self.is_fixed:
            return opened(open_bundle(self._config))
        state = self._begun()
        while True:
            self.name = state.active
            self.left_s = state.probation.left_s if state.probation else None
            try:
                return opened(open_stored(self._config, self.store, state.active))
            except BundleError as error:
                if state.active == SHIPPED or isinstance(error, EngineError):  # which are this machine's
                    raise
                state = self.roll_back(state, f"it could not be loaded: {error}")

    def opened(self, name: str) -> tuple[Bundle, Backend]:
        """A bundle of the store, and a backend of it.

        Raises:
            TapetumError: as `open_backend`.
        """
        bundle = open_stored(self._config, self.store, name)
        return bundle, open_backend(self._config, bundle, cache_dir=networks_dir(self._config))

    def blame(self, fault: BaseException) -> None:
        """A lane's fault ends the service: a bundle on probation is rolled back, and the next start has another.

        A fault of the GPU may be nobody's: the run counts as one that ended without order.
        """
        if isinstance(fault, CudaError):
            self.left_s = None
        elif self.left_s is not None:
            state = State(active=self.name)
            self.roll_back(self._step(state, lambda now: now), f"the service ended: {fault}")

    def roll_back(self, state: State, reason: str) -> State:
        """The active bundle of `state` failed; returns the state with the one before it."""
        name, reason = state.active, one_line(reason, 400)
        after = self._step(state, lambda now: now.rolled_back(name, reason))
        self.left_s = None
        self.tell(f"{name} failed, back to {after.active}: {reason}", logging.WARNING)
        return after

    def tell(self, news: str, level: int = logging.INFO) -> None:
        """Something happened to a bundle."""
        self.news = news
        log.log(level, "bundle %s", news)

    def _begun(self) -> State:
        if not self.store.folder.is_dir():  # nothing was ever installed
            return State()
        state = self._step(State(), lambda now: now.run_begun())
        if state.probation and state.probation.begun > CRASHES:
            return self.roll_back(state, f"the service ended {CRASHES} times without order in its probation")
        return state

    def _step(self, known: State, step: Callable[[State], State]) -> State:
        """A step of the state; where the disk does not take it, of what is known of it, until the next start."""
        try:
            return self.store.change(step)
        except TapetumError as error:
            log.warning("%s", error)
        with suppress(TapetumError):
            known = self.store.state()
        return step(known)
