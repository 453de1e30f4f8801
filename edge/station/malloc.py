"""How the C library deals out memory to this process."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_M_ARENA_MAX = -8  # malloc.h
ARENAS = 2


def limit_arenas() -> None:
    """Let all threads share a few heaps. Call it before there are threads.

    By default glibc gives up to eight per core, and what one thread's heap has freed is of no use to another's. Each
    new connection to a camera brings new threads, so the process would grow for hours, by a fifth
    (docs/reliability.md), as if it leaked.
    """
    with suppress(AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, ARENAS)
