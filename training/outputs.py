"""Result files: checked before any long work, written atomically."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from edge.atomic import write_atomic
from edge.errors import ConfigError, TapetumError

PICTURES = frozenset({".png", ".jpg", ".svg", ".pdf"})


def check_writable(*paths: Path | None) -> None:
    """See that files can be made there; None is no file.

    Raises:
        ConfigError: one cannot.
    """
    for path in filter(None, paths):
        if path.is_dir():
            raise ConfigError(f"{path} is a folder: give the name of a file in it")
        if not path.parent.is_dir():
            raise ConfigError(f"{path}: there is no folder {path.parent}: make it, or choose another place")
        try:
            with TemporaryFile(dir=path.parent):
                pass
        except OSError as error:
            raise ConfigError(f"{path}: cannot write to the folder {path.parent}: {error.strerror}") from error


def check_pictures(*paths: Path | None) -> None:
    """`check_writable`, and see that the suffix names a format that can be drawn.

    Raises:
        ConfigError: one cannot.
    """
    check_writable(*paths)
    for path in filter(None, paths):
        if path.suffix.lower() not in PICTURES:
            raise ConfigError(f"{path}: unknown kind of picture: end the name in {', '.join(sorted(PICTURES))}")


def write_json(path: Path, document: Any) -> None:
    """Write a document; an older file survives a failure.

    Raises:
        TapetumError: it cannot be written.
    """
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        write_atomic(path, text.encode(errors="replace"))  # a file's name may be no Unicode
    except OSError as error:
        raise TapetumError(f"{path}: cannot write: {error.strerror or error}") from error
