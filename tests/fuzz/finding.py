"""An input that broke something, as it is kept for whoever mends it."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Finding:
    """`reason` is a traceback, or how the process died."""

    target: str
    data: bytes
    reason: str


def save(folder: Path, finding: Finding) -> Path:
    """Write <target>.<digits>.input, and beside it a text with the reason. Returns the former's path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{finding.target}.{sha256(finding.data).hexdigest()[:12]}.input"
    path.write_bytes(finding.data)
    again = f"Again: .venv/bin/python -m tests.fuzz repeat {path}\n"
    path.with_suffix(".txt").write_text(f"{again}\n{finding.reason}\n", errors="replace")
    return path


def target_of(path: Path) -> str:
    """The target that a saved input belongs to."""
    return path.name.split(".", 1)[0]
