"""A library of labelled photographs in the manner of ImageNet: a folder per class.

A folder is called by the class's synset (n02085620), by a name of it (golden_retriever), or by a plain label (dog).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.errors import InputError
from training.data.imagenet import indices_of, plain
from training.data.labels import Meaning, meaning


@dataclass(frozen=True)
class LibraryClass:
    """One folder: its plain names, and the ImageNet classes that they stand for."""

    folder: Path
    names: frozenset[str]
    indices: frozenset[int]


def read_library(folder: Path, names: Path | None = None) -> list[LibraryClass]:
    """The classes of a library, by folder name.

    Args:
        folder: holds a folder per class; hidden ones are passed over.
        names: a text file of lines "FOLDER name, other name", for folders that are called by ids of their own.

    Raises:
        InputError: the folder or the file cannot be read, or there is no class in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    called = _read_names(names) if names else {}
    folders = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders:
        raise InputError(f"{folder}: no folder in it: a library has a folder of photographs for each class")
    return [_library_class(each, called.get(each.name, ())) for each in folders]


def of_label(library: Sequence[LibraryClass], label: str, table: Mapping[str, Meaning]) -> list[LibraryClass]:
    """The classes that show what a label stands for; a folder that is called like another label is that one's own."""
    wanted = table.get(label) or meaning(label)
    others = {plain(other) for other in table if other != label}
    return [
        each
        for each in library
        if each.names & wanted.names or (each.indices & wanted.indices and not each.names & others)
    ]


def of_index(library: Sequence[LibraryClass], index: int, table: Mapping[str, Meaning]) -> list[LibraryClass]:
    """The classes for a logit of the context network; a folder called like a label stands for all that it means."""
    labels = {plain(label) for label, each in table.items() if index in each.indices}
    ours = {plain(label) for label in table}
    return [each for each in library if each.names & labels or (index in each.indices and not each.names & ours)]


def _library_class(folder: Path, names: Sequence[str]) -> LibraryClass:
    known = [indices for name in (folder.name, *names) if (indices := indices_of(name))]
    # the first name that means something decides: the others may be words with a second meaning
    return LibraryClass(folder, frozenset(map(plain, (folder.name, *names))), known[0] if known else frozenset())


def _read_names(path: Path) -> dict[str, list[str]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot read the names of the classes: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: cannot read the names of the classes: not a UTF-8 text file") from error
    split = (line.split(maxsplit=1) for line in lines if line.strip() and not line.startswith("#"))
    return {folder: names[0].split(", ") if names else [] for folder, *names in split}
