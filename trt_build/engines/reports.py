"""What `build` and `ensure` tell while they work: a bar on a terminal, JSON lines for a program, or nothing."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Literal, get_args

from tqdm import tqdm

from edge.engines.progress import BuildProgress
from trt_build.engines.stoppable import HEARTBEAT_S

Style = Literal["bar", "json", "none"]
STYLES: tuple[Style, ...] = get_args(Style)
Tell = Callable[[BuildProgress], None]


@contextmanager
def telling(style: Style) -> Iterator[Tell]:
    """Lend what takes each `BuildProgress` and shows it in this style."""
    if style == "bar":
        bar = _Bar()
        try:
            yield bar.tell
        finally:
            bar.close()
    elif style == "json":
        lines = _Lines()
        try:
            yield lines.tell
        finally:
            lines.close()
    else:
        yield lambda progress: None


class _Lines:
    """A JSON object a line. The last comes again each second while nothing new does, as a sign of life: the check of
    an engine and the wait for another builder may take minutes.
    """

    def __init__(self) -> None:
        self._last: BuildProgress | None = None
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._repeat, name="sign of life", daemon=True)
        self._thread.start()

    def tell(self, progress: BuildProgress) -> None:
        with self._lock:
            self._last = progress
            print(progress.model_dump_json(), flush=True)

    def close(self) -> None:
        self._closing.set()
        self._thread.join()

    def _repeat(self) -> None:
        with suppress(OSError):  # nobody reads any more: `tell` says so where it is noticed
            while not self._closing.wait(HEARTBEAT_S):
                with self._lock:
                    if self._last is not None and self._last.state in ("waiting", "verifying"):
                        print(self._last.model_dump_json(), flush=True)


class _Bar:
    """One bar for each build, on standard error where that is a terminal; below it a line for what has ended."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def tell(self, progress: BuildProgress) -> None:
        name = f"{progress.model} {progress.precision}" if progress.model else "kernels"
        if progress.state == "building":
            self._show(name, progress)
            return
        self.close()
        if progress.state == "waiting":
            print(progress.detail, file=sys.stderr, flush=True)
        elif progress.state in ("kept", "built"):
            print(f"{name}: {progress.state}: {progress.detail}", flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _show(self, name: str, progress: BuildProgress) -> None:
        if self._bar is None:
            layout = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}{postfix}"
            self._bar = tqdm(desc=name, total=100, disable=None, leave=False, bar_format=layout)
        self._bar.n = progress.percent or 0
        self._bar.set_postfix_str(progress.detail)  # and draw it anew, with the time that has passed
