"""What is the matter with the unit: conditions that come and go, each change told once."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from edge.closing import Closing
from edge.types import Instant

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition at its newest change.

    Attributes:
        since: when it came on, whether it still is on or not.
        changed: when it came on, or went off.
        detail: why, in one line.
        id: the same from on to off.
    """

    name: str
    is_on: bool
    since: Instant
    changed: Instant
    detail: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:16])


class Conditions(Closing):
    """Those that are on, by name. Any thread may report, and calls `publish` itself where that is a change.

    As a context manager: at its end, those that are on go off, for nobody watches any more.
    """

    def __init__(self, publish: Callable[[Condition], None]) -> None:
        self._publish = publish
        self._lock = threading.Lock()
        self._on: dict[str, Condition] = {}

    def report(self, name: str, is_on: bool, detail: str) -> None:
        """Tell how a condition is now; only a change of `is_on` is news, a new detail is kept for `on`."""
        with self._lock:
            known = self._on.get(name)
            if known and is_on:
                self._on[name] = replace(known, detail=detail)
            elif known or is_on:
                self._change(known, name, detail)

    @property
    def on(self) -> tuple[Condition, ...]:
        """Those that are on, oldest first."""
        with self._lock:
            return tuple(self._on.values())

    def close(self) -> None:
        """What is on goes off: the service ends."""
        for condition in self.on:
            self.report(condition.name, False, "the service ends")

    def _change(self, known: Condition | None, name: str, detail: str) -> None:
        now = Instant.now()
        if known:
            del self._on[name]
            changed = replace(known, is_on=False, changed=now, detail=detail)
        else:
            changed = self._on[name] = Condition(name, True, now, now, detail)
        log.log(logging.WARNING if changed.is_on else logging.INFO, "%s", _line(changed))
        self._publish(changed)


def _line(condition: Condition) -> str:
    words = condition.name.replace("_", " ")
    return f"{words}: {condition.detail}" if condition.is_on else f"{words} no more: {condition.detail}"
