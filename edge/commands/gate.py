"""Which commands are let in: none that was here before, is old, was kept by the broker, or is one too many."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from edge.atomic import write_atomic
from edge.commands.parse import Command
from edge.errors import RefusedError
from edge.sections import CommandsConfig

log = logging.getLogger(__name__)

FILE = "commands.seen"  # in the state folder: the ids of commands, oldest first, one a line
REMEMBERED = 1000  # ids
MINUTE_S = 60.0


class Allowance:
    """So many in any minute."""

    def __init__(self, per_minute: int, now_s: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._now_s = now_s
        self._taken_s: deque[float] = deque(maxlen=per_minute)

    @property
    def is_spent(self) -> bool:
        """Whether one more would be too many."""
        return len(self._taken_s) == self.per_minute and self._now_s() - self._taken_s[0] < MINUTE_S

    def take(self) -> None:
        self._taken_s.append(self._now_s())


class Gate:
    """Judges commands one after the other: `check`, and `admit` once it is sure that they will be tried.

    Ids outlive the process by a file, which `save` writes, from any thread; the others do not touch the disk.
    """

    def __init__(
        self,
        config: CommandsConfig,
        state_dir: Path,
        *,
        now_s: Callable[[], float] = time.monotonic,
        utc_now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self._max_age_s = config.max_age_s
        self._allowance = Allowance(config.max_per_minute, now_s)
        self._utc_now = utc_now
        self._file = state_dir / FILE
        self._seen = _read(self._file)
        self._is_saved = True

    def check(self, command: Command, *, is_retained: bool) -> None:
        """Whether it may go on; nothing is remembered of one that may not.

        Raises:
            RefusedError: it may not, and why.
        """
        if is_retained:
            raise RefusedError("a retained message is no command: publish it without retain")
        if command.id in self._seen:
            raise RefusedError("a command of this id was here before: choose another for each command")
        self._check_time(command)
        if self._allowance.is_spent:
            raise RefusedError(f"too many commands: at most {self._allowance.per_minute} in a minute")

    def admit(self, command: Command) -> None:
        """Count it, and remember its id."""
        self._allowance.take()
        self._seen[command.id] = None
        while len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]

    def save(self) -> None:
        """Put the ids on disk, for the next start; where that cannot be, they are known until then."""
        try:
            write_atomic(self._file, "\n".join(list(self._seen)).encode())
        except OSError as error:
            if self._is_saved:
                log.warning("%s: %s: after a restart commands may be replayed", self._file, error.strerror)
            self._is_saved = False
        else:
            self._is_saved = True

    def _check_time(self, command: Command) -> None:
        if command.time_utc is None:
            return
        age_s = (self._utc_now() - command.time_utc).total_seconds()
        if abs(age_s) > self._max_age_s:
            side = "old" if age_s > 0 else "ahead"
            limit = f"at most {self._max_age_s:g} s: look at both clocks"
            raise RefusedError(f"time_utc is {abs(age_s):.0f} s {side} by the unit's clock, {limit}")


def _read(file: Path) -> dict[str, None]:
    """The ids, in their order. A file that cannot be read is none: the broker and its access list stand before us."""
    try:
        return dict.fromkeys(file.read_text(encoding="ascii", errors="replace").split()[-REMEMBERED:])
    except OSError:
        return {}
