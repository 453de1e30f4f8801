"""Run a build so that Ctrl-C ends it within two seconds, whatever TensorRT does meanwhile."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from trt_build.engines.phases import Phases

POLL_S = 0.1
HEARTBEAT_S = 1.0
GRACE_S = 1.5  # from the request to stop until the process ends without TensorRT's leave
STOPPED = 130

T = TypeVar("T")
Report = Callable[[str, int], None]  # a phase in words, percent of all


def run_stoppable(build: Callable[[], T], phases: Phases, report: Report) -> T:
    """`build()` in a thread of its own, while this one tells how far it is and listens to signals.

    Raises:
        BaseException: what `build` or `report` raised, KeyboardInterrupt among them, once the build has ended.
    """
    with ThreadPoolExecutor(1) as worker:
        future = worker.submit(build)
        try:
            _watch(future, phases, report)
        except BaseException:
            phases.stop()
            if not _has_ended(future):
                _end_process()
            raise
        return future.result()


def _watch(future: Future[T], phases: Phases, report: Report) -> None:
    """Report what is new, and once a second what is not: a step may take minutes, and silence looks like a crash."""
    told, told_s = None, 0.0
    while not wait([future], POLL_S).done:
        phase, percent = now = phases.now()
        if phase and (now != told or time.monotonic() - told_s > HEARTBEAT_S):
            report(phase, percent)
            told, told_s = now, time.monotonic()


def _has_ended(future: Future[T]) -> bool:
    """Whether the build ends in good time; somebody who presses Ctrl-C again waits no longer."""
    try:
        return bool(wait([future], GRACE_S).done)
    except KeyboardInterrupt:
        return False


def _end_process() -> None:
    """End at once: TensorRT is deep in a step, and a thread in foreign code cannot be ended in any other way.

    Nothing is lost: until a build has ended it has written nothing, and the kernel gives its lock back.
    """
    print("\ntapetum-build: stopped; nothing half-written is left", file=sys.stderr, flush=True)
    os._exit(STOPPED)
