"""The table from a recognizer's labels to the classes of a photo library, which the user can edit: labels.toml."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.errors import ConfigError
from training.data.imagenet import indices_of, plain

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_TABLE = Path(__file__).with_name("labels.toml")
_RANGE = re.compile(r"(\d{1,3})(?:-(\d{1,3}))?")


@dataclass(frozen=True)
class Meaning:
    """What a label stands for in a library: ImageNet classes by index, and folders by their plain name."""

    indices: frozenset[int]
    names: frozenset[str]


def meaning(label: str, entries: Sequence[int | str] = ()) -> Meaning:
    """A label's meaning by its entries in the table; a folder of the label's own name always counts.

    Raises:
        ValueError: an entry is neither an index, nor a range of them, nor a name.
    """
    indices = frozenset[int]().union(*map(_indices, entries))
    names = {plain(entry) for entry in entries if isinstance(entry, str) and not _RANGE.fullmatch(entry)}
    return Meaning(indices, frozenset(names | {plain(label)}))


def read_table(path: Path = DEFAULT_TABLE) -> dict[str, Meaning]:
    """Label -> what it stands for.

    Raises:
        ConfigError: not readable, not TOML, or with keys or entries that mean nothing.
    """
    labels = _read_labels(path)
    table = {}
    for label, entries in labels.items():
        if not isinstance(entries, list):
            raise ConfigError(f'{path}: {label}: give a list of classes, as in {label} = ["151-268"]')
        try:
            table[label] = meaning(label, entries)
        except ValueError as error:
            raise ConfigError(f"{path}: {label}: {error}") from error
    return table


def _read_labels(path: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the table of labels: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    if unknown := set(document) - {"labels"}:
        raise ConfigError(f"{path}: unknown key {min(unknown)!r}: the table has one section, [labels]")
    labels = document.get("labels")
    if not isinstance(labels, dict) or not labels:
        raise ConfigError(f'{path}: no label in it: write a section [labels] with lines such as dog = ["151-268"]')
    return labels


def _indices(entry: object) -> frozenset[int]:
    if isinstance(entry, str) and not _RANGE.fullmatch(entry):
        return indices_of(entry)
    numbers = None if isinstance(entry, bool) else _RANGE.fullmatch(str(entry))
    if numbers and (first := int(numbers[1])) <= (last := int(numbers[2] or first)):
        return frozenset(range(first, last + 1))
    raise ValueError(f'{entry!r} is not a name, an index from 0 to 999, or a range of them such as "151-268"')
