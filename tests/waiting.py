"""Waiting for what happens elsewhere: another thread, another process, the kernel."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Return once the condition holds; fail when it does not come about."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.01)
