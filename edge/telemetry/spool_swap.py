"""A new spool file takes the place of a damaged one, which is set aside: whole, whenever the power fails.

::

    spool.db.new        being written
    spool.db.ready      whole: from now on it counts, and whoever opens the spool finishes what a crash broke off
    spool.db.damaged    what it replaces, and its log spool.db.damaged-wal
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from edge.atomic import sync


def new_path(path: Path) -> Path:
    """Where the new file is to be written; what an earlier attempt has left there is removed."""
    new = _beside(path, "new")
    for leftover in _with_log(new):
        leftover.unlink(missing_ok=True)
    return new


def aside_path(path: Path) -> Path:
    """Where the damaged file is once it has been replaced."""
    return _beside(path, "damaged")


def replace(path: Path) -> None:
    """The new file is whole and closed: let it take its place.

    Raises:
        OSError: the disk fails. Once the new file is ready, `take_over` can be called again.
    """
    for older in _with_log(aside_path(path)):
        older.unlink(missing_ok=True)
    _beside(path, "new").rename(_beside(path, "ready"))
    sync(path.parent)
    take_over(path)


def take_over(path: Path) -> None:
    """Finish `replace` where it was broken off; else do nothing.

    The damaged file's log goes before the new file comes: it would be taken for that file's.

    Raises:
        OSError: the disk fails.
    """
    ready = _beside(path, "ready")
    if not ready.exists():
        return
    for source, target in zip(_with_log(path), _with_log(aside_path(path)), strict=True):
        with suppress(FileNotFoundError):
            source.rename(target)
    sync(path.parent)
    ready.rename(path)
    sync(path.parent)


def _beside(path: Path, end: str) -> Path:
    return path.with_name(f"{path.name}.{end}")


def _with_log(path: Path) -> tuple[Path, Path]:
    return path.with_name(f"{path.name}-wal"), path
