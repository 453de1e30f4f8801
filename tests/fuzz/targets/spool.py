"""The spool's file and its log after a bad night: what is read is what was stored, and the spool goes on."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from edge.errors import InputError
from edge.telemetry.spool_file import DamagedError, Row, SpoolFile, renew
from tests.fuzz.target import Target

MANY = 1 << 40
_CUT = b"\n-- the log --\n"  # between the file and its log in an input


def _stored() -> list[Row]:
    kinds = ("appear", "update", "update", "leave")
    return [Row(n, kinds[n % 4], b'{"n":%d}' % n * (n % 9), n * 10, n if n % 3 else None) for n in range(1, 61)]


class SpoolDatabase(Target):
    """Bytes of spool.db, and of its write-ahead log behind a marker."""

    tokens = (
        *(b"SQLite format 3\0", b"CREATE TABLE", b"CREATE INDEX", b"CREATE TRIGGER", b"event", b"updates", b"update"),
        *(b"\x0d", b"\x05", b"\x0a", b"\x02", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x10\0\x02\x02", _CUT),
    )
    is_python = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._path = folder / "spool.db"
        self._log = folder / "spool.db-wal"
        self._stored = _stored()

    def seeds(self) -> list[bytes]:
        """Merged into the file; a part in the log; all in the log."""
        made = []
        for merged in (60, 40, 0):
            path = self.folder / f"seed{merged}.db"
            path.unlink(missing_ok=True)
            if merged:
                with closing(SpoolFile(path)) as file:
                    file.store(self._stored[:merged], [], MANY)
            with closing(SpoolFile(path)) as file:
                file.store(self._stored[merged:], [], MANY)
                log = path.with_name(f"{path.name}-wal")
                made.append(path.read_bytes() + (_CUT + log.read_bytes() if merged < 60 else b""))
        return made

    def feed(self, data: bytes) -> None:
        for left in self.folder.glob("spool.db*"):
            left.unlink()
        content, cut, log = data.partition(_CUT)
        self._path.write_bytes(content)
        if cut:
            self._log.write_bytes(log)
        file, damage = self._opened()
        with closing(file):
            found = file.read(0, 1000)
            assert found == [row for row in self._stored if row in found], "an event that nobody stored"
            file.store([Row(1000, "leave", b"{}", 1, None)], [], MANY)
            assert file.read(999, 10)[0].payload == b"{}"
        if damage:
            raise InputError(damage)

    def _opened(self) -> tuple[SpoolFile, str]:
        """As the spool does it: what cannot be opened or read is renewed."""
        try:
            file = SpoolFile(self._path)
        except DamagedError as error:
            return renew(self._path, [], MANY)[0], str(error)
        try:
            file.read(0, 1000)
        except DamagedError as error:
            file.close()
            return renew(self._path, [], MANY)[0], str(error)
        return file, ""
