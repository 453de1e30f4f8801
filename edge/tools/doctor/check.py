"""One check and what it found; a check that hangs or breaks ends alone."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from edge.errors import TapetumError, one_line

LIMIT_S = 5.0

State = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found. `detail` and `cure` are one line each; what is ok needs no cure."""

    name: str
    state: State
    detail: str
    cure: str = ""


class Finding(NamedTuple):
    """A check's result, before the name is put to it."""

    state: State
    detail: str
    cure: str = ""


def ok(detail: str) -> Finding:
    return Finding("ok", detail)


def warning(detail: str, cure: str) -> Finding:
    """The service runs, but somebody should look at it."""
    return Finding("warning", detail, cure)


def failed(detail: str, cure: str) -> Finding:
    """The service does not run, or not as it is configured."""
    return Finding("failed", detail, cure)


def worst(*findings: Finding | None) -> Finding:
    """The one that somebody has to know; of equals the first."""
    found = [finding for finding in findings if finding is not None]
    return max(found, key=lambda finding: ("ok", "warning", "failed").index(finding.state))


class Examination(NamedTuple):
    """A check that is still to be made.

    Attributes:
        look: may raise anything; the text of a TapetumError names the cure itself.
        limit_s: what takes longer has failed.
    """

    name: str
    look: Callable[[], Finding]
    limit_s: float = LIMIT_S

    def made(self) -> Check:
        """Look, in a thread that is left behind when it hangs."""
        answers: queue.SimpleQueue[Finding] = queue.SimpleQueue()
        threading.Thread(target=lambda: answers.put(self._look()), name=f"check {self.name}", daemon=True).start()
        try:
            finding = answers.get(timeout=self.limit_s)
        except queue.Empty:
            finding = failed(f"no answer within {self.limit_s:g} s", "look at what it depends on, then try again")
        return Check(self.name, finding.state, one_line(finding.detail), one_line(finding.cure))

    def _look(self) -> Finding:
        try:
            return self.look()
        except TapetumError as error:
            return failed(str(error), "")
        except Exception as error:  # one check that breaks must not end the others
            return failed(f"the check itself broke: {type(error).__name__}: {error}", "please report it")
