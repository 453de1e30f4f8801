"""The last reports of the unit's health, for those who come when the broker is away."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

HEALTH_FILE = "health.jsonl"
_MOST_BYTES = 1 << 20  # then another is begun, and one old one is kept


def runtime_folder() -> Path | None:
    """systemd's RuntimeDirectory=: memory, not disk, that outlives a restart of the service; None without systemd."""
    folder = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return Path(folder) if folder else None


class RecentReports:
    """Appends to `health.jsonl` in a folder, where there is one; a fault of it is nobody's concern."""

    def __init__(self, folder: Path | None) -> None:
        self._path = folder / HEALTH_FILE if folder else None

    def add(self, report: bytes) -> None:
        """Keep a report, one JSON object."""
        if self._path is None:
            return
        try:
            with suppress(FileNotFoundError):
                if self._path.stat().st_size > _MOST_BYTES:
                    self._path.replace(self._path.with_suffix(".old"))
            with self._path.open("ab") as file:
                file.write(report + b"\n")
        except OSError as error:
            log.debug("%s: %s", self._path, error.strerror)
