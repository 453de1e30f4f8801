"""The events on their way, as memory knows them: between those who put and take them and the one who keeps the file.

    put -> new -> (file) -> ready -> taken -> acknowledged -> forgotten by the file

Where the file is of no use, new events are taken as they are.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from edge.station import clock
from edge.telemetry.spool_file import UPDATE, Row

READ_AHEAD = 64  # events read from the file before they are asked for
LATE_S = 5.0  # an event that is sent later than this is late


@dataclass(slots=True, eq=False)
class Entry:
    """An event in memory. `payload` is a JSON object."""

    kind: str
    payload: bytes
    put_ns: int  # monotonic; 0: put by an earlier run
    put_s: int | None  # Unix time; None: the clock was not synchronised
    number: int | None = None  # its place in the file; None: it is not there
    is_done: bool = False  # delivered or given up

    @property
    def is_late(self) -> bool:
        return time.monotonic_ns() - self.put_ns > LATE_S * 1e9

    def row(self, number: int) -> Row:
        return Row(number, self.kind, self.payload, self.put_ns, self.put_s)


class Backlog:
    """First in, first out. All methods are quick: none touches a disk.

    `put` is for any thread; `take`, `acknowledge` and `rewind` are for the one that talks to the broker; the rest is
    for the one that keeps the file. When more than `limit` events are in memory alone, the oldest updates go first;
    appear and leave, oldest first, go when no update is left.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._changed = threading.Condition()  # guards all that follows
        self._new: deque[Entry] = deque()  # not in the file yet
        self._ready: deque[Entry] = deque()  # read from the file
        self._taken: dict[Entry, None] = {}  # in the order of taking
        self._delivered: list[int] = []  # numbers that the file has to forget
        self._stored = 0  # events in the file
        self._last = 0  # the highest number given
        self._read_to = 0  # the highest number read
        self._is_open = False  # there is a file
        self._is_wanted = False  # somebody takes
        self._is_closing = False
        self._trouble = ""
        self._dropped = 0

    def put(self, kind: str, payload: bytes) -> None:
        """Queue an event behind all others."""
        put_s = int(time.time()) if clock.is_synchronised() else None
        with self._changed:
            self._new.append(Entry(kind, payload, time.monotonic_ns(), put_s))
            while len(self._new) > self._limit:
                self._give_up_one()
            self._changed.notify()

    def take(self) -> Entry | None:
        """The next event to send; None when none is ready."""
        with self._changed:
            self._is_wanted = True
            if self._is_urgent():
                self._changed.notify()
            if self._ready:
                entry = self._ready.popleft()
            elif self._trouble and self._new and not self._is_behind():
                entry = self._new.popleft()
            else:
                return None
            self._taken[entry] = None
            return entry

    def acknowledge(self, entry: Entry) -> None:
        """The broker has it."""
        with self._changed:
            self._taken.pop(entry, None)
            self._forget(entry)

    def rewind(self) -> None:
        """The connection is gone: what was taken and is not acknowledged is next again, in its order."""
        with self._changed:
            self._new.extendleft(entry for entry in reversed(self._taken) if entry.number is None)
            numbers = [entry.number for entry in (*self._taken, *self._ready) if entry.number is not None]
            self._read_to = min(numbers, default=self._read_to + 1) - 1
            self._taken.clear()
            self._ready.clear()
            self._is_wanted = False

    @property
    def dropped(self) -> int:
        """Events given up for want of room, or because they were too old."""
        return self._dropped

    @property
    def unsaved(self) -> int:
        """Events that are in memory alone: the end of the process loses them."""
        with self._changed:
            return len(self._unsaved())

    def __len__(self) -> int:
        """Number of events that the broker has not acknowledged."""
        with self._changed:
            return max(0, self._stored - len(self._delivered)) + len(self._unsaved())

    # For the one that keeps the file.

    @property
    def trouble(self) -> str:
        """Why the file takes nothing; empty while all is well."""
        return self._trouble

    @trouble.setter
    def trouble(self, reason: str) -> None:
        with self._changed:
            self._trouble = reason

    @property
    def read_to(self) -> int:
        """The highest number that was read: up to here, events are on their way."""
        return self._read_to

    def close(self) -> None:
        """Let `wait` return at once from now on."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()

    def wait(self, timeout_s: float) -> bool:
        """Until there is something to store or to read. Returns whether this is the end."""
        with self._changed:
            self._changed.wait_for(self._is_urgent, timeout_s)
            return self._is_closing

    def opened(self, rows: int, last: int) -> None:
        """The file, perhaps opened anew, holds so many events, numbered up to `last`."""
        with self._changed:
            self._ready.clear()
            self._read_to = 0
            self._is_open, self._trouble = True, ""
            self._stored, self._last = rows, max(self._last, last)

    def unsaved_and_delivered(self, most: int) -> tuple[dict[int, Entry], list[int]]:
        """At most so many that the file has to take in, by their numbers there, and those that it has to forget."""
        with self._changed:
            return dict(enumerate(self._unsaved()[:most], self._last + 1)), list(self._delivered)

    def stored(self, added: dict[int, Entry], forgotten: Sequence[int], rows: int, dropped: int) -> None:
        """The file has taken in `added` and forgotten as it was told, first of all; now it holds `rows`."""
        with self._changed:
            del self._delivered[: len(forgotten)]
            for number, entry in added.items():
                entry.number = self._last = number
                if entry.is_done:
                    self._delivered.append(number)
            self._new = deque(entry for entry in self._new if entry.number is None)
            self._stored = rows
            self._dropped += dropped

    def unread_after(self) -> int | None:
        """The number after which events are to be read; None while none is wanted."""
        with self._changed:
            return self._read_to if self._has_unread() else None

    def loaded(self, after: int, rows: Sequence[Row], earlier: int) -> None:
        """These follow `after`; up to the number `earlier` they were put by an earlier run."""
        with self._changed:
            if not self._is_wanted or self._read_to != after:
                return  # rewound meanwhile
            self._read_to = rows[-1].number if len(rows) == READ_AHEAD else self._last
            known = {*self._delivered, *(entry.number for entry in self._taken)}
            for row in rows:
                if row.number not in known:
                    put_ns = row.put_ns if row.number > earlier else 0
                    self._ready.append(Entry(row.kind, row.payload, put_ns, row.put_s, row.number))

    def closed(self) -> None:
        """There is no file for now: what it holds does not hold up what waits in memory."""
        with self._changed:
            self._is_open = False

    def held(self) -> list[Row]:
        """Events of the file that are in memory, too."""
        with self._changed:
            both = (*self._taken, *self._ready)
            return [entry.row(entry.number) for entry in both if entry.number is not None]

    # Below, the lock is held.

    def _is_urgent(self) -> bool:
        return self._is_closing or self._has_unread() or (bool(self._new) and not self._trouble)

    def _has_unread(self) -> bool:
        return self._is_wanted and self._is_behind() and len(self._ready) < READ_AHEAD // 2

    def _is_behind(self) -> bool:
        """The file holds events that were not read."""
        return self._is_open and self._read_to < self._last

    def _unsaved(self) -> list[Entry]:
        return [*(entry for entry in self._taken if entry.number is None), *self._new]

    def _give_up_one(self) -> None:
        victim = next((entry for entry in self._new if entry.kind == UPDATE), self._new[0])
        self._new.remove(victim)
        self._forget(victim)
        self._dropped += 1

    def _forget(self, entry: Entry) -> None:
        entry.is_done = True  # it may be on its way into the file
        if entry.number is not None:
            self._delivered.append(entry.number)
