"""A thread that goes its rounds: every so often it does a few small tasks, none of which can end the service."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from edge.conditions import Conditions
from edge.priority import give_way

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11

log = logging.getLogger(__name__)

JOIN_S = 5.0


class Rounds:
    """Does `tasks`, by name, every `interval_s`, at low priority, from `__enter__` to `__exit__`.

    A task that raises is a bug: its traceback is logged once, the others go on, and the condition `<name>_failed` is
    on until it works again.
    """

    def __init__(
        self, name: str, interval_s: float, tasks: Mapping[str, Callable[[], None]], conditions: Conditions
    ) -> None:
        self._condition = f"{name}_failed"
        self._interval_s, self._tasks, self._conditions = interval_s, tasks, conditions
        self._faults: dict[str, str] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(JOIN_S)
        if self._thread.is_alive():  # a disk that hangs, say
            log.warning("the thread %s does not end; it is left behind", self._thread.name)

    def _run(self) -> None:
        give_way()
        while not self._stopping.wait(self._interval_s):
            self.go()

    def go(self) -> None:
        """One round."""
        for name, task in self._tasks.items():
            try:
                task()
                self._faults.pop(name, None)
            except Exception as error:
                if name not in self._faults:
                    log.exception("%s: %s does not work", self._thread.name, name)
                self._faults[name] = f"{name}: {type(error).__name__}: {error}"
        self._conditions.report(self._condition, bool(self._faults), "; ".join(self._faults.values()))
