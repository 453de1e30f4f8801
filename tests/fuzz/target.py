"""What is fuzzed, and what every one of its inputs is held to.

A reader takes an input, or refuses it with a TapetumError. All else is a finding: another exception, a broken promise
(AssertionError), a crash, a hang, memory beyond the bound, a traceback of a thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from edge.errors import TapetumError

SECRET = "hunter2-Xyzzy"  # stands wherever a seed holds a secret: no line may repeat it
LONGEST_LINE = 2000  # characters of a refusal
BATCH = 100  # inputs between looks at what only shows over many


class Target(ABC):
    """A reader of outside bytes. `tokens` are words that it knows."""

    tokens: ClassVar[Sequence[bytes]] = ()
    limit_mib: ClassVar[int] = 512  # address space that it may take beyond what it has when it stands
    is_python: ClassVar[bool] = True  # what decides is Python: coverage guides
    noise: ClassVar[str] = r"(?!)"  # lines on stderr that are borne with: a regular expression

    def __init__(self, folder: Path) -> None:
        """`folder` is empty, and the target's own."""
        self.folder = folder

    @abstractmethod
    def seeds(self) -> list[bytes]:
        """Good inputs, all of which are taken, and some that are nearly good."""

    @abstractmethod
    def feed(self, data: bytes) -> None:
        """Read an input, and check what was read.

        Raises:
            TapetumError: it is refused.
            AssertionError: what was read is not what is promised.
        """

    def after_batch(self) -> None:  # noqa: B027  # most have nothing to do
        """Check what shows over many inputs. Raises AssertionError."""

    def close(self) -> None:  # noqa: B027
        """Let go of what was opened."""


def is_taken(target: Target, data: bytes) -> bool:
    """Feed an input: whether it was taken. A refusal is held to its form.

    Raises:
        Exception: whatever it is, it is a finding.
    """
    try:
        target.feed(data)
    except TapetumError as error:
        check_line(str(error))
        return False
    return True


def check_line(line: str) -> None:
    """One line, which any terminal can show, not too long, and without a secret."""
    assert line.isprintable(), f"not one printable line: {line[:300]!r}"
    assert 0 < len(line) <= LONGEST_LINE, f"{len(line)} characters: {line[:300]!r}"
    assert SECRET not in line, f"tells a secret: {line[:300]!r}"
