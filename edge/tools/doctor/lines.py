"""Checks as lines of text."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections import Counter
from collections.abc import Iterable
from typing import TextIO

from edge.tools.doctor.check import Check, State

_NAME_COLUMNS = 14
_INDENT = " " * (9 + _NAME_COLUMNS)
_COLOURS = {"ok": "32", "warning": "33", "failed": "1;31"}  # green, yellow, bold red (ECMA-48: SGR)


def line(check: Check) -> str:
    """One line, however long, for files and pipes."""
    cure = f" -> {check.cure}" if check.cure else ""
    return f"{_state(check.state)} {check.name:<{_NAME_COLUMNS}}{check.detail}{cure}"


def summary(checks: Iterable[Check]) -> str:
    """How many of each."""
    counts = Counter(check.state for check in checks)
    told = [f"{counts['ok']} ok", *(f"{counts[state]} {state}" for state in ("warning", "failed") if counts[state])]
    return ", ".join(told)


class Display:
    """Writes to a terminal in its width, with colours where it shows some; to anything else, a line each."""

    def __init__(self, stream: TextIO) -> None:
        self._is_terminal = stream.isatty()
        self._has_colours = self._is_terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"

    def __call__(self, check: Check) -> str:
        if not self._is_terminal:
            return line(check)
        columns = min(shutil.get_terminal_size().columns, 110) - 1
        wrap = textwrap.TextWrapper(columns, subsequent_indent=_INDENT, break_on_hyphens=False)
        wrap.initial_indent = f"{_state(check.state)} {check.name:<{_NAME_COLUMNS}}"
        told = wrap.wrap(check.detail)
        wrap.initial_indent, wrap.subsequent_indent = f"{_INDENT}-> ", f"{_INDENT}   "
        text = "\n".join([*told, *wrap.wrap(check.cure)])
        return self._coloured(check.state, text) if self._has_colours else text

    @staticmethod
    def _coloured(state: State, text: str) -> str:
        return f"\x1b[{_COLOURS[state]}m{_state(state)}\x1b[0m{text[len(_state(state)) :]}"


def _state(state: State) -> str:
    return f"{state:<8}"
