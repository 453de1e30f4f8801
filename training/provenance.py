"""Where a result comes from: the command that made it, its versions, its data."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edge import __version__


def command_of(arguments: Sequence[str]) -> str:
    """The `tapetum-train` command line. Folders of this machine are nobody's business: of absolute paths the last
    part stays.
    """
    return shlex.join(["tapetum-train", *map(_without_folders, arguments)])


def versions_of(*packages: str) -> dict[str, str]:
    """Versions of Tapetum, Python and packages; without those that came in another way (a distribution's OpenCV)."""
    versions = {"tapetum": __version__, "python": platform.python_version()}
    for package in packages:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


def circumstances(arguments: Sequence[str], *packages: str) -> dict[str, Any]:
    """What a measurement must tell besides its figures: command, date (UTC), machine, versions."""
    return {
        "command": command_of(arguments),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}, {platform.system()}",
        "versions": versions_of(*packages),
    }


def fingerprint(files: Iterable[Path]) -> str:
    """SHA-256 over the sorted names and sizes of files: tells data sets apart without reading them.

    Raises:
        OSError: a file is gone.
    """
    lines = sorted(f"{file.name}\t{file.stat().st_size}\n" for file in files)
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def _without_folders(argument: str) -> str:
    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    return option + equals + (Path(value).name if value.startswith("/") else value)
