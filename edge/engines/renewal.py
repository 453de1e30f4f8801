"""Engines that no longer fit (an upgrade of TensorRT, another bundle) are renewed while the service runs.

`tapetum-build ensure` does it, in a process of its own: a build takes minutes and much memory, and can end badly. The
service goes on meanwhile with what it has.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from types import TracebackType

from pydantic import ValidationError

from edge.bundles.bundle import Bundle
from edge.config import Config, credential
from edge.engines.progress import BuildProgress
from edge.inference.cuda import find_gpu
from edge.priority import NICENESS

log = logging.getLogger(__name__)

STOP_S = 5.0


def renewal_command(config: Config, bundle: Bundle) -> list[str] | None:
    """What renews the engines of the bundle; None where that is switched off, or no engine could run."""
    renew = config.engines.renew
    if renew == "off" or (renew == "auto" and not (config.service.runtime != "cpu" and _runs_engines())):
        return None
    command = [sys.executable, "-m", "trt_build", "ensure", str(bundle.folder), "--progress", "json"]
    command += ["--engines", str(config.service.engines_dir), "--precision", bundle.precision]
    if config.bundle.public_key and not bundle.is_shipped:
        command += ["--public-key", str(credential(config.bundle.public_key))]
    if config.bundle.allow_refused:
        command.append("--allow-refused")
    if renew == "dry-run":
        command.append("--dry-run")
    return command


def _runs_engines() -> bool:
    if find_gpu() is None:
        return False
    if not any(find_spec(name) for name in ("tensorrt", "tensorrt_rtx")):
        log.info("no TensorRT is installed: no engines are built")
        return False
    return True


class Renewal:
    """One run of `command`, from `__enter__` until it is done or `__exit__` stops it.

    Its failure is a warning in the log and nothing more. What it calls is called from a thread.

    Attributes:
        failure: why it failed, when it has.
    """

    def __init__(
        self,
        command: Sequence[str],
        on_progress: Callable[[BuildProgress], None],
        on_done: Callable[[bool], None] = lambda has_built: None,
        on_life: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_progress` is told of each step; `on_done` is called at the end, unless that was in vain, with whether
        any engine was built; `on_life` with each sign of life, about once a second."""
        self._command = command
        self._on_progress, self._on_done, self._on_life = on_progress, on_done, on_life
        self.failure = ""
        self._stopping = self._has_built = False
        self._told: BuildProgress | None = None
        self._last_words = "it said nothing"
        self._child: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._follow, name="engines", daemon=True)

    @property
    def is_over(self) -> bool:
        """Whether the process has ended, and `on_done` too."""
        return not self._thread.is_alive()

    def __enter__(self) -> Renewal:
        try:
            # A session of its own: a Ctrl-C in the service's terminal is for the service alone.
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            self._warn(f"{self._command[0]}: {error.strerror}")
            return self
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self._child.pid, NICENESS)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child is None:
            return
        self._stopping = True
        self._child.terminate()
        self._thread.join(STOP_S)
        if self._thread.is_alive():
            self._child.kill()
            self._thread.join()

    def _follow(self) -> None:
        """Forward what the process tells until it has ended."""
        child = self._child
        assert child is not None and child.stdout is not None
        with child.stdout as lines:
            for line in lines:
                self._take(line)
        code = child.wait()
        if self._stopping:
            return
        if code == 0:
            log.info("the engines are up to date")
        else:
            self._warn(f"{self._last_words} (exit code {code})")
        if self._has_built or code == 0:
            self._on_done(self._has_built)

    def _take(self, line: str) -> None:
        self._on_life()
        try:
            progress = BuildProgress.model_validate_json(line)
        except ValidationError:
            self._last_words = line.strip() or self._last_words
            log.debug("%s", line.rstrip())
            return
        if progress != self._told:
            self._told = progress
            self._has_built |= progress.state == "built"
            self._on_progress(progress)

    def _warn(self, reason: str) -> None:
        self.failure = reason
        log.warning("the engines could not be renewed: %s; going on with what there is", reason)
