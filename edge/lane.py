"""What the lanes have in common: a thread that takes the newest frame, and shows that it lives."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from edge.errors import BundleError, TapetumError
from edge.exchange import Exchange
from edge.mailbox import Mailbox
from edge.rates import Rate
from edge.types import Frame

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self  # in typing from Python 3.11

log = logging.getLogger(__name__)

# How often a lane without frames wakes: its pulse, and the rate of the "no signal" card. Some viewers show nothing
# before they have some twenty pictures.
IDLE_S = 0.1
JOIN_S = 5.0


class Lane(ABC):
    """A thread that works on the newest frame. Leaving it as a context manager ends the thread.

    A lane shows that it lives by its `beat_ns`; an error that it cannot handle ends it and is kept in `fault`.

    Raises on leaving:
        TapetumError: the thread hangs. What it uses stays open, and nothing is freed when the process ends.
        BaseException: its `fault`. Both only where no other error is on its way.
    """

    def __init__(self, name: str, owned: Exchange[Any] | None = None) -> None:
        """`owned` is exchanged between two frames, and closed when the thread has ended, never before."""
        self.rate = Rate()
        self.fault: BaseException | None = None
        self.beat_ns = time.monotonic_ns()
        self.work_ms = 0.0  # what the newest frame took, without its wait
        self._owned = owned
        self._box: Mailbox[Frame] = Mailbox()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def put(self, frame: Frame) -> None:
        """Offer a frame; the one that waits, if any, is dropped."""
        self._box.put(frame)

    @property
    def dropped(self) -> int:
        """Frames that this lane had no time for."""
        return self._box.dropped

    @property
    def min_interval_ns(self) -> int:
        """Least time from one frame's turn to the next."""
        return 0

    @abstractmethod
    def work(self, frame: Frame) -> None:
        """Handle one frame."""

    @abstractmethod
    def idle(self) -> None:
        """No frame came for IDLE_S."""

    @abstractmethod
    def finish(self) -> None:
        """The lane ends."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._box.close()
        self._thread.join(JOIN_S)
        if self._thread.is_alive():
            self._leave_behind(error)
            return
        try:
            if self._owned is not None:
                self._owned.close()
        finally:
            if self.fault is not None and error is None:
                raise self.fault

    def _leave_behind(self, error: BaseException | None) -> None:
        reason = f"the {self._thread.name} lane hangs: it ends with the process, what it uses stays open till then"
        log.error("%s", reason)
        atexit.register(os._exit, TapetumError.exit_code)  # the interpreter's own end would free it, too
        if error is None:
            raise TapetumError(reason)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                frame = self._box.get(IDLE_S)
                started_ns = time.monotonic_ns()
                if self._owned is not None:
                    self._owned.take()
                if frame is None:
                    self.idle()
                else:
                    self.work(frame)
                    self.work_ms = (time.monotonic_ns() - started_ns) / 1e6
                    self.rate.count((time.monotonic_ns() - frame.captured_at.monotonic_ns) / 1e6)
                self._pause_until(started_ns + self.min_interval_ns)
            self.finish()
        except BundleError as error:
            # At its exit code, 4, systemd would give up a unit whose networks have run.
            self.fault = TapetumError(str(error))
            self.fault.__cause__ = error
        except BaseException as error:  # app.py sees it and ends the service
            self.fault = error

    def _pause_until(self, end_ns: int) -> None:
        """Wait for the lane's next turn, and show that it lives."""
        self.beat_ns = time.monotonic_ns()
        while self.beat_ns < end_ns and not self._stopping.wait(min((end_ns - self.beat_ns) / 1e9, IDLE_S)):
            self.beat_ns = time.monotonic_ns()
