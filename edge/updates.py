"""New bundles in the running service: tried beside the active one, switched to between two frames, or taken back.

::

    candidate in the store -> engines -> trial on live frames -> switch -> probation -> proven
                                          | rejected               | rolled back

The store's state file is the truth, and is on the disk before anything follows from it: commands write there, this
part follows. docs/updates.md tells it all.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType

from edge.bundles.bundle import Bundle
from edge.bundles.state import CRASHES, SHIPPED, Candidate, State
from edge.bundles.status import Phase, UpdateStatus
from edge.bundles.trial import Pace
from edge.config import Config
from edge.engines.progress import BuildProgress
from edge.engines.renewal import Renewal, renewal_command
from edge.engines.store import EngineError
from edge.errors import BundleError, RefusedError, TapetumError, one_line
from edge.incumbent import Incumbent
from edge.inference.cuda import GpuFaultError
from edge.lanes import ColourLane, DetectLane
from edge.live import LiveBackend
from edge.opening import networks_dir, open_stored
from edge.priority import give_way
from edge.shadow import Shadow, run_trial
from edge.vision.backend import open_backend
from edge.vision.base import Backend

log = logging.getLogger(__name__)

POLL_S = 1.0  # between looks at the store, and at the lanes' frames in a probation
RETRY_S = 60.0  # after a fault of the store, or of our own
JOIN_S = 10.0


class Updates:
    """Runs from `__enter__` to `__exit__` in a thread of low priority. Its own faults are logged and end nothing."""

    def __init__(
        self,
        config: Config,
        incumbent: Incumbent,
        live: LiveBackend,
        lanes: tuple[ColourLane, DetectLane],
        on_progress: Callable[[BuildProgress], None],
    ) -> None:
        """`on_progress` is told of the building of a candidate's engines."""
        self._config, self._incumbent, self._live, self._lanes = config, incumbent, live, lanes
        self._on_progress = on_progress
        self._store = incumbent.store
        self._phase: Phase = "fixed" if incumbent.is_fixed else "idle"
        self._trying: str | None = None
        self._pace: Pace | None = None  # of the bundle before the one on probation
        self._known, self._stamp = State(), (-1, -1)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="updates", daemon=True)

    @property
    def state(self) -> UpdateStatus:
        """What goes on now."""
        return UpdateStatus(self._phase, self._incumbent.name, self._incumbent.news)

    def activate(self, name: str) -> str:
        """Try a bundle of the store, and switch to it if it does well; returns its whole name.

        Raises:
            BundleError: there is no such bundle, or several.
            RefusedError: `bundle.path` names the bundle.
            TapetumError: the store cannot be written.
        """
        self._refuse_if_fixed()
        found = self._store.find(name)
        self._store.activate(found)
        return found

    def rollback(self) -> str:
        """Go back to the bundle before the active one, at once; returns its name.

        Raises:
            RefusedError: there is none, or `bundle.path` names the bundle.
            TapetumError: the store cannot be written.
        """
        self._refuse_if_fixed()
        return self._store.rollback().active

    def __enter__(self) -> Updates:
        if not self._incumbent.is_fixed:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(JOIN_S)
        trying = self._trying
        if trying and error is None:  # a trial that ends with the service's fault has not ended in order
            self._safely(lambda: self._store.change(lambda state: state.try_ended(trying)))

    def _refuse_if_fixed(self) -> None:
        if self._incumbent.is_fixed:
            raise RefusedError("bundle.path names the bundle of this unit: its configuration must be changed")

    # What follows is the thread's own.

    def _run(self) -> None:
        give_way()
        self._safely(self._store.clear)
        while not self._stopping.wait(POLL_S):
            if not self._safely(self._turn):
                self._stopping.wait(RETRY_S)

    def _safely(self, work: Callable[[], object]) -> bool:
        """Whether it went well; else it is in the log."""
        try:
            work()
        except TapetumError as error:
            log.warning("updates: %s", error)
        except Exception:
            log.exception("updates: a bug; they rest for a while, the service goes on")
        else:
            return True
        return False

    def _turn(self) -> None:
        """The next thing that is to be done, to its end."""
        state = self._state()
        if state.active != self._incumbent.name:
            self._follow(state)
        elif state.probation:
            self._incumbent.left_s = state.probation.left_s
            self._prove(state)
        elif state.candidate:
            self._try(state.candidate)
        self._phase = "idle"

    def _state(self) -> State:
        """The newest state; read anew when it has changed."""
        stamp = self._store.stamp
        if stamp != self._stamp and stamp != (0, 0):
            self._known = self._store.change(lambda state: state)
            self._stamp = stamp
        return self._known

    def _follow(self, state: State) -> None:
        """Another bundle is active, by a command or because the one before failed: the lanes get it."""
        self._incumbent.left_s = None  # a probation ends with another one's turn
        try:
            opened = self._opened(state.active)
        except EngineError:
            raise  # this machine's, not the bundle's: later again
        except BundleError as error:
            after = self._incumbent.roll_back(state, f"it could not be loaded: {error}")
            if self._store.state().active != after.active or state.active == SHIPPED:
                raise  # the disk takes no step, or there is none to take: later again
        else:
            self._switch(state.active, *opened)

    def _opened(self, name: str) -> tuple[Bundle, Backend]:
        """With `service.runtime = "tensorrt"` its engines are built first, where none fit."""
        try:
            return self._incumbent.opened(name)
        except EngineError:
            self._build_engines(open_stored(self._config, self._store, name))
            return self._incumbent.opened(name)

    def _try(self, candidate: Candidate) -> None:
        """The trial of a candidate, from its engines to the switch."""
        name = candidate.bundle
        if candidate.begun >= CRASHES:
            self._reject(name, f"the service ended {candidate.begun} times without order while it was tried")
            return
        self._store.change(lambda state: state.try_begun(name))
        self._phase, self._trying = "trial", name
        log.info("bundle %s is tried beside %s", name, self._incumbent.name)
        with ExitStack() as opening:
            try:
                bundle, shadow = self._candidate(name, opening)
                trouble = run_trial(shadow, self._config.updates.trial_s, lambda wait_s: self._goes_on(wait_s, name))
            except GpuFaultError:
                raise  # the lanes meet it too, and end the service
            except (TapetumError, MemoryError) as error:
                trouble = str(error) or "not enough memory"
            if trouble:
                self._reject(name, trouble)
            elif trouble is not None:
                self._take(name, bundle, shadow)
        if not self._stopping.is_set():
            self._trying = None

    def _candidate(self, name: str, opening: ExitStack) -> tuple[Bundle, Shadow]:
        bundle = open_stored(self._config, self._store, name)
        self._build_engines(bundle)
        backend = open_backend(self._config, bundle, cache_dir=networks_dir(self._config))
        return bundle, opening.enter_context(Shadow(self._config, backend, self._lanes, "shadow"))

    def _build_engines(self, bundle: Bundle) -> None:
        """Where there is a GPU. What cannot be built is judged by what runs in its place."""
        if command := renewal_command(self._config, bundle):
            with Renewal(command, self._on_progress) as renewal:
                while not (renewal.is_over or self._stopping.wait(POLL_S)):
                    pass

    def _goes_on(self, wait_s: float, name: str) -> bool:
        return not self._stopping.wait(wait_s) and self._state().tries(name)

    def _take(self, name: str, bundle: Bundle, shadow: Shadow) -> None:
        """The candidate did well: it takes over, on probation. First on the disk, where a crash finds it."""
        verdict, probation_s = str(shadow.comparison), self._config.updates.probation_s
        state = self._store.change(lambda state: state.switched(name, verdict, probation_s))
        if state.active == name:
            self._pace = shadow.comparison.reference.pace
            self._incumbent.left_s = probation_s
            self._switch(name, bundle, shadow.release())
            self._incumbent.tell(f"{name} is active, on probation: {verdict}")

    def _prove(self, state: State) -> None:
        """The probation of the active bundle, beside the one before it, to its end or to a command's."""
        self._phase, incumbent = "probation", self._incumbent
        with Shadow(self._config, self._former(state), self._lanes, "lanes", self._pace) as shadow:
            while incumbent.left_s is not None and incumbent.left_s > 0:
                if self._stopping.wait(POLL_S) or self._state().active != incumbent.name:
                    return
                incumbent.left_s -= shadow.look()
                if trouble := shadow.comparison.trouble():
                    incumbent.roll_back(state, trouble)
                    return
        incumbent.left_s = None
        self._store.change(lambda now: now.proven(state.active))
        incumbent.tell(f"{state.active} is proven")
        self._store.prune(self._config.updates.keep)

    def _former(self, state: State) -> Backend | None:
        """What the lanes are held against in a probation; None where it does not work any more."""
        try:
            return self._incumbent.opened(state.previous or SHIPPED)[1]
        except TapetumError as error:
            log.warning("updates: %s; the probation goes on without a comparison", error)
            return None

    def _switch(self, name: str, bundle: Bundle, backend: Backend) -> None:
        self._live.switch(backend, bundle)
        self._incumbent.name = name

    def _reject(self, name: str, reason: str) -> None:
        reason = one_line(reason, 400)
        self._store.change(lambda state: state.rejected(name, reason))
        self._incumbent.tell(f"{name} is rejected: {reason}", logging.WARNING)
        self._store.prune(self._config.updates.keep)
