"""`doctor --bundle-report`: what somebody far away needs to help, with the secrets taken out, in one archive."""

from __future__ import annotations

import importlib.metadata
import io
import json
import platform
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from edge import __version__
from edge.atomic import replacing
from edge.config import load_config, read_document
from edge.errors import ConfigError, TapetumError
from edge.station.machine import l4t_release, processor
from edge.station.recent import HEALTH_FILE
from edge.tools.doctor import lines
from edge.tools.doctor.check import Check
from edge.tools.doctor.secrecy import Scrubber, as_toml, secrets_of, shown_document

JOURNAL = ("journalctl", "--unit", "tapetum-edge", "--no-pager", "--output", "short-iso", "--lines", "20000")
_JOURNAL_S = 30.0
_MOST_BYTES = 32 << 20  # of one file, its end


def require_new(path: Path) -> None:
    """Check, before the checks are made, that a report may be written.

    Raises:
        ConfigError: there is such a file, or no such folder.
    """
    if path.exists() or path.is_symlink():
        raise ConfigError(f"{path}: it is there already, and is not overwritten: give another name")
    if not path.parent.is_dir():
        raise ConfigError(f"{path.parent}: no such folder: give another place for the report")


def write_report(path: Path, config_path: Path, checks: Sequence[Check], root: Path) -> None:
    """Pack the archive; only its owner may read it.

    Raises:
        ConfigError: as `require_new`.
        TapetumError: it cannot be written; then there is none.
    """
    require_new(path)
    scrubbed = _scrubber(config_path)
    try:
        with replacing(path) as temporary:
            temporary.touch(mode=0o600)
            with tarfile.open(temporary, "w:gz") as archive:
                for name, text in _contents(config_path, checks, root).items():
                    _add(archive, name, scrubbed(text))
            if path.exists():
                raise ConfigError(f"{path}: somebody else has just written it: give another name")
    except OSError as error:
        raise TapetumError(f"{path}: the report cannot be written: {error.strerror}") from error


def _scrubber(config_path: Path) -> Scrubber:
    try:
        return Scrubber(secrets_of(load_config(config_path)))
    except TapetumError:
        return Scrubber(())


def _contents(config_path: Path, checks: Sequence[Check], root: Path) -> Mapping[str, str]:
    return {
        "doctor.txt": "\n".join([*map(lines.line, checks), lines.summary(checks), ""]),
        "doctor.json": json.dumps([asdict(check) for check in checks], indent=2) + "\n",
        "edge.toml": _configuration(config_path),
        "versions.txt": "\n".join([*_versions(root), ""]),
        "journal.txt": _journal(),
        "health.jsonl": _end_of(root / "run/tapetum" / HEALTH_FILE),
        "health.old": _end_of(root / "run/tapetum" / HEALTH_FILE.replace("jsonl", "old")),
    }


def _configuration(path: Path) -> str:
    try:
        return "# Known keys only, and no comments.\n" + as_toml(shown_document(read_document(path)))
    except TapetumError:
        return "# The file cannot be read: see doctor.txt.\n"


def _versions(root: Path) -> Iterator[str]:
    yield f"tapetum {__version__}"
    yield f"machine {processor(root)}"
    yield f"kernel {platform.release()} {platform.machine()}"
    try:
        yield f"system {platform.freedesktop_os_release()['PRETTY_NAME']}"
    except (OSError, KeyError):
        yield "system unknown"
    if release := l4t_release(root):
        yield f"jetson linux {release}"
    yield f"python {platform.python_version()}"
    names = {found.name for found in importlib.metadata.distributions()}
    for name in sorted(names, key=str.lower):
        yield f"{name} {importlib.metadata.version(name)}"  # the first on the path: it is the one that is imported


def _journal() -> str:
    try:
        done = subprocess.run(JOURNAL, capture_output=True, timeout=_JOURNAL_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"no journal: {error}\n"
    return (
        done.stdout[-_MOST_BYTES:].decode(errors="replace") or f"no journal: {done.stderr.decode(errors='replace')}"
    )


def _end_of(path: Path) -> str:
    try:
        return path.read_bytes()[-_MOST_BYTES:].decode(errors="replace")
    except OSError as error:
        return f"no health reports: {error.strerror}: {path}\n"


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode()
    entry = tarfile.TarInfo(f"tapetum-report/{name}")
    entry.size, entry.mode, entry.mtime = len(content), 0o600, int(time.time())
    archive.addfile(entry, io.BytesIO(content))
