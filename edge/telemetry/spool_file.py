"""The spool's file: events in SQLite, in the order of their numbers. One thread owns it.

The write-ahead log is synced with each commit (`synchronous=FULL`): what `store` has returned from survives a power
cut. SQLite checks the structure of its pages but not what they hold, hence a checksum with each event.
"""

from __future__ import annotations

import re
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from edge.errors import one_line
from edge.telemetry import spool_swap

VERSION = 1
UPDATE = "update"  # the kind of event that a full spool gives up first
ROW_BYTES = 160  # what an event takes beside its payload: columns, index, the unused ends of pages
BATCH = 1000  # events that `renew` commits together
FARTHEST = 1 << 20  # numbers that `salvage` skips at once before it gives up
LOG_PAGES = 256  # of 4 KiB, after which the log is merged into the file and begun anew

_SCHEMA = f"""
BEGIN;
CREATE TABLE event (
    number INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    payload BLOB NOT NULL,
    put_ns INTEGER NOT NULL,
    put_s INTEGER,
    checksum INTEGER NOT NULL
);
CREATE INDEX updates ON event (number) WHERE kind = '{UPDATE}';
PRAGMA user_version = {VERSION};
COMMIT;
"""
_FAULTS = (sqlite3.Error, UnicodeDecodeError)  # the latter where an error tells what stands in the file
# SQLite's words for what is wrong with the disk or the folder. All else is wrong with the file: Python tells the two
# apart by class only in part, and by code from 3.11 on.
_OUTSIDE = re.compile("is full|I/O error|unable to open|locked|readonly|out of memory")
_COLUMNS = "number, kind, payload, put_ns, put_s, checksum"


class DamagedError(Exception):
    """The file is not a spool, or not one that can be trusted."""


class DiskError(Exception):
    """The disk is full or fails, the folder is missing or not writable, or another process has the file."""


@dataclass(frozen=True, slots=True)
class Row:
    """One event. `put_ns` is the monotonic clock; `put_s` is Unix time, None where the clock was not synchronised."""

    number: int
    kind: str
    payload: bytes
    put_ns: int
    put_s: int | None

    @property
    def checksum(self) -> int:
        others = f"{self.number} {self.kind} {self.put_ns} {self.put_s}"
        return zlib.crc32(self.payload, zlib.crc32(others.encode(errors="replace")))


class SpoolFile:
    """An open file; `rows` counts its events, `last` is their highest number (0 when there is none).

    Raises, as each method does:
        DamagedError: what the file holds cannot be trusted.
        DiskError: it cannot be read or written now.
    """

    def __init__(self, path: Path) -> None:
        with _telling():
            spool_swap.take_over(path)
            self._connection = sqlite3.connect(path, timeout=0, isolation_level=None)
            try:
                _prepare(self._connection)
                self.rows, self._bytes, self.last = self._count()
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        with suppress(sqlite3.Error):  # what was committed stays: in the log, if not in the file
            self._connection.close()

    def store(self, added: Sequence[Row], delivered: Iterable[int], max_bytes: int, keep_to: int = 0) -> int:
        """Add events and forget delivered ones in one commit; when all take more than `max_bytes`, make room.

        The oldest updates go first; appear and leave, oldest first, go when no update is left. Numbers up to
        `keep_to` stay: they are on their way. Returns how many went.
        """
        with _telling(), self._transaction():
            self._insert(added)
            count, size = self._delete(delivered)
            rows = self.rows + len(added) - count
            used = self._bytes + sum(len(row.payload) + ROW_BYTES for row in added) - size
            dropped, size = self._delete(self._surplus(used - max_bytes, keep_to))
        self.rows, self._bytes = rows - dropped, used - size
        self.last = max(self.last, *(row.number for row in added)) if added else self.last
        return dropped

    def read(self, after: int, count: int) -> list[Row]:
        """At most `count` events, oldest first, with numbers above `after`."""
        query = f"SELECT {_COLUMNS} FROM event WHERE number > ? ORDER BY number LIMIT ?"
        with _telling():
            return [_trusted(values) for values in self._connection.execute(query, (after, count)).fetchall()]

    def expire(self, before_s: int, keep_to: int = 0) -> int:
        """Forget events of whatever kind that were put before a Unix time. Returns how many went.

        Those put while the clock was not synchronised have no age, and stay.
        """
        with _telling():
            query = "DELETE FROM event WHERE put_s < ? AND number > ?"
            gone = self._connection.execute(query, (before_s, keep_to)).rowcount
            self.rows, self._bytes, _ = self._count()
        return gone

    def _count(self) -> tuple[int, int, int]:
        """How many there are, what they take in bytes, and the highest number."""
        query = f"SELECT count(*), total(length(payload) + {ROW_BYTES}), coalesce(max(number), 0) FROM event"
        rows, size, last = self._connection.execute(query).fetchone()
        return rows, int(size), last

    def _insert(self, rows: Iterable[Row]) -> None:
        values = ((row.number, row.kind, row.payload, row.put_ns, row.put_s, row.checksum) for row in rows)
        self._connection.executemany("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?)", values)

    def _delete(self, numbers: Iterable[int]) -> tuple[int, int]:
        """How many there were, and what they took in bytes."""
        query = "DELETE FROM event WHERE number = ? RETURNING length(payload)"
        found = [self._connection.execute(query, (number,)).fetchall() for number in numbers]
        sizes = [length + ROW_BYTES for rows in found for (length,) in rows]
        return len(sizes), sum(sizes)

    def _surplus(self, excess: int, keep_to: int) -> list[int]:
        """The numbers of those that must go to save so many bytes, in the order of the policy."""
        gone: list[int] = []
        for kind in (f"kind = '{UPDATE}'", f"kind <> '{UPDATE}'"):
            query = f"SELECT number, length(payload) FROM event WHERE {kind} AND number > ? ORDER BY number"
            with closing(self._connection.execute(query, (keep_to,))) as oldest:
                while excess > 0 and (found := oldest.fetchone()):
                    gone.append(found[0])
                    excess -= found[1] + ROW_BYTES
        return gone

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:  # SQLite has ended it already on a full disk
                self._connection.execute("ROLLBACK")


def renew(path: Path, held: Sequence[Row], max_bytes: int) -> tuple[SpoolFile, Path]:
    """Begin a new file, and set the damaged one aside, in place of one set aside before.

    Args:
        held: events that are in memory, too; the others are taken from the damaged file as far as they can be read.

    Returns:
        The new file, and where the damaged one is now. Wherever a crash breaks this off, the next `SpoolFile` finds
        one of the two whole.

    Raises:
        OSError, DiskError: the new one cannot be written; the damaged one is where it was, or the next who opens the
            spool finds the new one.
    """
    numbers = {row.number for row in held}
    rows = chain(held, (row for row in salvage(path) if row.number not in numbers))
    with closing(SpoolFile(spool_swap.new_path(path))) as file:
        while batch := list(islice(rows, BATCH)):
            file.store(batch, (), max_bytes)
    spool_swap.replace(path)
    return SpoolFile(path), spool_swap.aside_path(path)


def salvage(path: Path) -> Iterator[Row]:
    """The events of a damaged file that can still be read and trusted, oldest first."""
    after, stride = 0, 1
    with suppress(*_FAULTS), closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")  # reads a file that was cut off, too
        while stride < FARTHEST:
            try:
                for row in _ascending(connection, after):
                    after, stride = row.number, 1
                    yield row
                return
            except (*_FAULTS, DamagedError):  # a page that cannot be read: look for the next one
                after, stride = after + stride, 2 * stride


def _ascending(connection: sqlite3.Connection, after: int) -> Iterator[Row]:
    """Trusted events behind a number. In a damaged tree the way may lead back to where it came from: an error."""
    for values in connection.execute(f"SELECT {_COLUMNS} FROM event WHERE number > ? ORDER BY number", (after,)):
        if values[0] <= after:
            raise DamagedError(f"number {values[0]} behind {after}")
        after = values[0]
        with suppress(DamagedError):
            yield _trusted(values)


def _prepare(connection: sqlite3.Connection) -> None:
    """Settings, and the table of a new file; what an old one holds is checked."""
    # Nobody else may read along, and so no shared memory file is needed.
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {4 * LOG_PAGES * 4096}")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables:
        connection.executescript(_SCHEMA)
    elif version != VERSION:
        raise DamagedError(f"version {version} of the spool, not {VERSION}")
    (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise DamagedError(one_line(verdict))


def _trusted(values: tuple[Any, ...]) -> Row:
    *columns, checksum = values
    row = Row(*columns)
    if not isinstance(row.payload, bytes) or row.checksum != checksum:
        raise DamagedError(f"event {row.number} is not what was written")
    return row


@contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except _FAULTS as error:
        if isinstance(error, sqlite3.OperationalError) and _OUTSIDE.search(str(error)):
            raise DiskError(one_line(str(error))) from error
        raise DamagedError(one_line(str(error))) from error
    except OSError as error:
        raise DiskError(str(error)) from error
