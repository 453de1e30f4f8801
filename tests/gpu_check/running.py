"""A step in a process of its own: its time is limited, and whatever becomes of it the others go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Status = Literal["ok", "skipped", "failed", "timed out", "not run"]

ROOT = Path(__file__).parents[2]
LOG_TAIL = 400  # characters of a crashed step's last words


@dataclass(frozen=True)
class Step:
    """One function of `tests.gpu_check.parts`, and how long it may take."""

    name: str
    part: str
    function: str
    arguments: tuple[str, ...] = ()
    limit_s: float = 60


@dataclass(frozen=True)
class Outcome:
    """What became of a step. `figures` is what it had found, also where it failed later.

    Attributes:
        reason: why it failed or was skipped, in one line; empty where all went well.
    """

    status: Status
    seconds: float = 0
    reason: str = ""
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def is_failure(self) -> bool:
        return self.status not in ("ok", "skipped")


@dataclass(frozen=True)
class Runner:
    """Runs steps.

    Attributes:
        command: the Python that has the packages.
        env: environment of its processes.
        logs: folder for what each step prints.
    """

    logs: Path
    command: Sequence[str] = (sys.executable,)
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    def run(self, step: Step, limit_s: float) -> Outcome:
        """Run a step for `limit_s` seconds at most."""
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{step.name.replace('/', '-')}.log"
        with tempfile.TemporaryDirectory() as scratch, log.open("wb") as output:
            file = Path(scratch) / "figures.json"
            child = ["-m", "tests.gpu_check.child", str(file), step.part, step.function, *step.arguments]
            started_s = time.monotonic()
            code = self._wait([*self.command, *child], limit_s, output)
            return _outcome(code, time.monotonic() - started_s, limit_s, _read(file), log)

    def _wait(self, command: Sequence[str], limit_s: float, output: Any) -> int | None:
        """The exit code; None where the limit was reached, and nothing of the step runs on."""
        process = subprocess.Popen(
            command, cwd=ROOT, env=self.env, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            return process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a step and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _read(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:  # it did not even start
        return {"figures": {}, "reasons": [], "skipped": []}


def _outcome(code: int | None, seconds: float, limit_s: float, found: Mapping[str, Any], log: Path) -> Outcome:
    told, seconds = [*found["reasons"], *found["skipped"]], round(seconds, 1)
    if code is None:
        return Outcome("timed out", seconds, "; ".join([*told, f"ended after {limit_s:.0f} s"]), found["figures"])
    if code:
        return Outcome("failed", seconds, "; ".join([*told, _last_words(code, log)]), found["figures"])
    status: Status = "failed" if found["reasons"] else "skipped" if found["skipped"] else "ok"
    return Outcome(status, seconds, "; ".join(told), found["figures"])


def _last_words(code: int, log: Path) -> str:
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    said = " ".join(log.read_text(encoding="utf-8", errors="replace").split())
    return f"{how}: {said[-LOG_TAIL:] or 'it said nothing'}"
