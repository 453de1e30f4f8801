"""Whether the disk with the unit's state has room."""

from __future__ import annotations

import os
from pathlib import Path

from edge.watch.finding import UNKNOWN, Finding, judged

WELL_FACTOR = 1.2  # of the least room: so much counts as enough again


class DiskSpace:
    def __init__(self, folder: Path, least_mb: int) -> None:
        self._folder, self._least_mb = folder, least_mb

    def look(self) -> Finding:
        """What a user without special rights can still write, in MB of 2**20 bytes."""
        try:
            disk = os.statvfs(self._folder)
        except OSError:
            return UNKNOWN
        free_mb = disk.f_bavail * disk.f_frsize / 2**20
        detail = f"{free_mb:.0f} MB free for {self._folder} (at least {self._least_mb} MB wanted)"
        return judged(free_mb, wrong=self._least_mb, well=WELL_FACTOR * self._least_mb, detail=detail)
