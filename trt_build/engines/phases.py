"""How far TensorRT is with a build, and the only way to stop it: its progress monitor."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any


@dataclass
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class Phases:
    """The phases that are open now. They nest: a step of one may be a phase of its own.

    TensorRT's threads call `start`, `step` and `finish`; `now` and `stop` are for those who wait.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, _Phase] = {}  # in the order of their start
        self._percent = 0
        self._stopped = False

    def start(self, name: str, parent: str | None, steps: int) -> None:
        with self._lock:
            self._open[name] = _Phase(parent, max(1, steps))

    def step(self, name: str, index: int) -> bool:
        """Step `index`, from 0, is complete; False asks TensorRT to give up."""
        with self._lock:
            if name in self._open:
                self._open[name].done = index + 1
            return not self._stopped

    def finish(self, name: str) -> None:
        with self._lock:
            self._open.pop(name, None)

    def stop(self) -> None:
        """Give up at the next step."""
        with self._lock:
            self._stopped = True

    def now(self) -> tuple[str, int]:
        """The newest open phase in TensorRT's words, and whole percents of all, which never go back."""
        with self._lock:
            roots = (name for name, phase in self._open.items() if phase.parent not in self._open)
            share = max((self._share(name) for name in roots), default=0.0)
            self._percent = max(self._percent, int(100 * share))
            return next(reversed(self._open), ""), self._percent

    def _share(self, name: str) -> float:
        """How much of a phase is done, 0 to 1, with what is done within its present step."""
        phase = self._open[name]
        within = sum(self._share(child) for child, other in self._open.items() if other.parent == name)
        return min(1.0, (phase.done + min(1.0, within)) / phase.steps)


def progress_monitor(trt: Any, phases: Phases) -> Any:
    """TensorRT's IProgressMonitor, which tells `phases`. Whoever gives it to a builder keeps it until the end."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # its base is known at run time only
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            phases.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return phases.step(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            phases.finish(phase_name)

    return Monitor()
