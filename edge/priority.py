"""Who goes first: video and detection, before all that may wait."""

from __future__ import annotations

import os

NICENESS = 10


def give_way() -> None:
    """This thread, on Linux it alone, gives way to the lanes. One that gives way more already stays as it is."""
    os.setpriority(os.PRIO_PROCESS, 0, max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
