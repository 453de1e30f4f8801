"""What a step finds, on disk from the moment it is known: a step that is killed later loses nothing."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class NotHereError(Exception):
    """This machine lacks what would be compared with: nothing has failed. The text says what."""


class Figures:
    """Named figures and the reasons why some are missing, in a JSON file: {"figures", "reasons", "skipped"}."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._figures: dict[str, Any] = {}
        self._reasons: list[str] = []
        self._skipped: list[str] = []
        self._write()

    def __setitem__(self, name: str, value: Any) -> None:
        self._figures[name] = value
        self._write()

    @contextmanager
    def going_on(self, name: str = "") -> Iterator[None]:
        """What is raised within the block becomes a reason, with the name before it, and the step goes on."""
        try:
            yield
        except NotHereError as error:
            self._skipped.append(_named(name, str(error)))
        except Exception as error:
            traceback.print_exc()  # for who looks at the step's log
            self._reasons.append(_named(name, reason_of(error)))
        self._write()

    def _write(self) -> None:
        part = self._path.with_suffix(".part")
        content = {"figures": self._figures, "reasons": self._reasons, "skipped": self._skipped}
        part.write_text(json.dumps(content), encoding="utf-8")
        part.replace(self._path)


def reason_of(error: BaseException) -> str:
    """An error in one line; a TapetumError's text says all, of the others the type does too."""
    text = " ".join(str(error).split())
    told_for_people = any(kind.__name__ == "TapetumError" for kind in type(error).__mro__)
    return text if told_for_people else f"{type(error).__name__}: {text}"


def _named(name: str, text: str) -> str:
    return f"{name}: {text}" if name else text
