"""Events on disk before they are sent, and until the broker has acknowledged them.

One thread of ours owns the file. Whoever puts or takes an event touches memory alone, so that a slow disk delays no
lane and no keep-alive; events that come while a commit runs go into the next one together.

Where the disk takes nothing (full, failing, read-only) events wait in memory, and go from there to the broker, until
it takes them again.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from edge.sections import SpoolConfig
from edge.station import clock
from edge.telemetry.backlog import READ_AHEAD, Backlog
from edge.telemetry.spool_file import DamagedError, DiskError, SpoolFile, renew

log = logging.getLogger(__name__)

FILE = "spool.db"
BATCH = 500  # events in one commit
FORGET_S = 1.0  # delivered events are forgotten together: after a power cut those of so long come again
RETRY_S = 5.0  # between attempts to write to a disk that took nothing
SETTLED_S = 60.0  # a new file that is damaged earlier than this tells of the disk, not of one bad night
PAUSE_S = 300.0  # the longest between attempts on such a disk
WARN_S = 3600.0  # between warnings of such a disk
EXPIRE_S = 600.0  # between looks for events that are too old
STOP_S = 3.0  # what the last commit may take
DAY_S = 86_400


class Spool:
    """A bounded queue of events, `backlog`, that outlives the process: first in, first out, each at least once.

    No fault of the disk is raised: it is logged once, and the events stay in memory. A damaged file is set aside,
    and what can still be read of it goes into the new one.
    """

    def __init__(self, folder: Path, config: SpoolConfig) -> None:
        self.backlog = Backlog(config.memory)
        self._path = folder / FILE
        self._config = config
        self._max_bytes = config.max_mib << 20
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        # All that follows is our thread's.
        self._file: SpoolFile | None = None
        self._damage = ""
        self._earlier: int | None = None  # the highest number of an earlier run
        self._is_full = False
        self._is_ending = False
        self._pause_s = RETRY_S
        self._renewed_s = -math.inf
        self._forget_s = self._retry_s = self._warn_s = self._expire_s = 0.0  # when, by time.monotonic()

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Commit what is not in the file yet, for STOP_S at most, and close it."""
        self.backlog.close()
        if self._thread.ident is not None:
            self._thread.join(STOP_S)  # a disk that hangs is left behind
        if lost := self.backlog.unsaved:
            reason = self.backlog.trouble or self._damage or "the disk does not answer"
            log.warning("%s: %d events that were in memory alone are lost: %s", self._path, lost, reason)

    def __enter__(self) -> Spool:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        is_last = False
        while not is_last:
            is_last = self.backlog.wait(FORGET_S)
            if not self.backlog.trouble or time.monotonic() >= self._retry_s:
                self._try(self._store)
            if self._file:
                self._try(self._load)
        self._finish()

    def _finish(self) -> None:
        """Commit what is left, as long as the disk takes it. A file that turns out to be damaged is renewed, once."""
        self._is_ending, self._forget_s = True, 0.0
        for _ in range(2):
            while self._try(self._store) and self.backlog.unsaved:
                pass
            if not self._damage:
                break
        self._close()

    def _close(self) -> None:
        if self._file:
            self._file.close()
        self._file = None
        self.backlog.closed()

    def _try(self, work: Callable[[SpoolFile], None]) -> bool:
        """Whether it worked."""
        try:
            if self._file is None:
                self._file = self._opened()
            work(self._file)
        except DamagedError as error:
            self._give_up_file(str(error))
        except (DiskError, OSError) as error:
            self._degrade(str(error), RETRY_S)
        else:
            return True
        return False

    def _give_up_file(self, damage: str) -> None:
        """It is renewed with the next event; on a disk that spoils one after another, after ever longer pauses."""
        self._damage = damage
        self._close()
        if time.monotonic() >= self._renewed_s + SETTLED_S:
            self._pause_s = RETRY_S
            return
        self._degrade(f"damaged again ({damage})", self._pause_s)
        self._pause_s = min(2 * self._pause_s, PAUSE_S)

    def _degrade(self, reason: str, pause_s: float) -> None:
        now_s = time.monotonic()
        self._retry_s = now_s + pause_s
        self.backlog.trouble = reason
        if now_s >= self._warn_s and not self._is_ending:  # at the end, `close` tells all in one line
            self._warn_s = now_s + WARN_S
            advice = f"events wait in memory, {self._config.memory} at most: look at the disk's space and health"
            log.warning("%s: %s: %s", self._path, reason, advice)

    def _opened(self) -> SpoolFile:
        try:
            if self._damage:
                raise DamagedError(self._damage)
            file = SpoolFile(self._path)
        except DamagedError as error:
            file = self._renewed(str(error))
        self.backlog.opened(file.rows, file.last)
        if self._earlier is None:
            self._earlier = file.last
        return file

    def _renewed(self, damage: str) -> SpoolFile:
        """A new file, with what can be saved from the damaged one and what is on its way."""
        self._damage, self._renewed_s = damage, time.monotonic()
        file, aside = renew(self._path, self.backlog.held(), self._max_bytes)
        self._damage = ""
        log.warning(
            "%s was damaged (%s): %d events saved; set aside as %s", self._path, damage, file.rows, aside.name
        )
        return file

    def _store(self, file: SpoolFile) -> None:
        """One commit: all that came since the one before, and what was delivered."""
        now_s = time.monotonic()
        added, delivered = self.backlog.unsaved_and_delivered(BATCH)
        if not added and now_s < self._forget_s:
            delivered = []
        dropped = self._expire(file, now_s)
        if added or delivered:
            rows = [entry.row(number) for number, entry in added.items()]
            dropped += file.store(rows, delivered, self._max_bytes, self.backlog.read_to)
            self._forget_s = now_s + FORGET_S
            self.backlog.trouble = ""
        self.backlog.stored(added, delivered, file.rows, dropped)
        self._tell_dropped(dropped, file.rows)

    def _expire(self, file: SpoolFile, now_s: float) -> int:
        if now_s < self._expire_s or not clock.is_synchronised():
            return 0
        self._expire_s = now_s + EXPIRE_S
        return file.expire(int(time.time()) - self._config.max_age_days * DAY_S, self.backlog.read_to)

    def _tell_dropped(self, dropped: int, rows: int) -> None:
        if dropped and not self._is_full:
            limits = f"max_mib = {self._config.max_mib}, max_age_days = {self._config.max_age_days}"
            log.warning("%s has reached its bounds (%s): the oldest updates go first", self._path, limits)
        self._is_full = bool(dropped) or (self._is_full and rows > 0)

    def _load(self, file: SpoolFile) -> None:
        """Read ahead, while somebody takes."""
        after = self.backlog.unread_after()
        if after is None:
            return
        try:
            rows = file.read(after, READ_AHEAD)
        except DiskError:
            self._close()  # perhaps it can be opened again
            raise
        self.backlog.loaded(after, rows, self._earlier or 0)
