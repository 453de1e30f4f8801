"""Which files a run of `tapetum-edge process` takes, and where the result of each goes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.errors import ConfigError, InputError
from edge.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES


@dataclass(frozen=True, slots=True)
class Job:
    """One file and where its colour picture or video goes."""

    source: Path
    target: Path

    @property
    def is_clip(self) -> bool:
        return _suffix(self.source) in VIDEO_SUFFIXES


def plan(inputs: Sequence[Path], out: Path) -> tuple[list[Job], list[str]]:
    """Find the files and name their results; what is no input is told in the second list.

    Raises:
        InputError: no file at all.
        ConfigError: a result would overwrite an input.
    """
    sources: dict[Path, Path] = {}
    complaints = []
    for path in inputs:
        files = [file for file in _files(path, out) if _suffix(file) in IMAGE_SUFFIXES | VIDEO_SUFFIXES]
        for file in files:
            sources.setdefault(_real(file), file)
        if not files:
            complaints.append(_why_nothing(path))
    if not sources:
        raise InputError("; ".join(complaints))
    targets: dict[Path, Path] = {}
    for source in sources.values():
        targets[_free_target(source, out, targets)] = source
    for target in targets:
        if _real(target) in sources:
            raise ConfigError(f"{target} is an input and would be overwritten: choose another output folder")
    return [Job(source, target) for target, source in targets.items()], complaints


def _files(path: Path, out: Path) -> Iterator[Path]:
    """The file itself, or what lies in the folder; not what an earlier run left in an `out` inside the folder."""
    if path.is_file():
        yield path
    root, skipped = _real(path), _real(out)
    for folder, subfolders, names in os.walk(path):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        here = Path(folder)
        if _real(here) == skipped != root:
            subfolders.clear()
            continue
        yield from (here / name for name in sorted(names) if not name.startswith("."))


def _real(path: Path) -> Path:
    """The absolute path without symbolic links; unlike Path.resolve it bears with links that lead in a circle."""
    return Path(os.path.realpath(path))


def _suffix(path: Path) -> str:
    return path.suffix.lower()


def _why_nothing(path: Path) -> str:
    if path.is_dir():
        return f"{path}: no images or videos in this folder"
    if path.is_file():
        known = " ".join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))
        return f"{path}: neither an image nor a video by its suffix (known: {known})"
    return f"{path}: no such file or folder"


def _free_target(source: Path, out: Path, taken: dict[Path, Path]) -> Path:
    suffix = ".mp4" if _suffix(source) in VIDEO_SUFFIXES else ".png"
    target, number = out / f"{source.stem}{suffix}", 1
    while target in taken:
        number += 1
        target = out / f"{source.stem}_{number}{suffix}"
    return target
