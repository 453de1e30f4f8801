"""The 1000 classes of ImageNet (ILSVRC 2012): what the context network's logits and a library's folders mean."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_FILE = Path(__file__).with_name("imagenet_classes.txt")


@dataclass(frozen=True)
class ImageNetClass:
    """`index` of the logit, 0..999; `synset`, WordNet's id; `names`, the usual one first."""

    index: int
    synset: str
    names: tuple[str, ...]


@lru_cache(maxsize=1)
def imagenet_classes() -> tuple[ImageNetClass, ...]:
    """All classes, by index."""
    lines = _FILE.read_text(encoding="utf-8").splitlines()
    return tuple(_parse(line) for line in lines if not line.startswith("#"))


def plain(name: str) -> str:
    """A name as names are compared: small letters, one space where there were underscores or spaces."""
    return " ".join(name.replace("_", " ").casefold().split())


def indices_of(name: str) -> frozenset[int]:
    """The classes that a synset id or a name stands for: those that it is the usual name of, else another name of.

    None, one, or more (a crane lifts, or flies).
    """
    wanted = plain(name)
    return _usual_names().get(wanted) or _all_names().get(wanted) or frozenset()


@lru_cache(maxsize=1)
def _usual_names() -> dict[str, frozenset[int]]:
    return _by_name((name, each.index) for each in imagenet_classes() for name in (each.synset, each.names[0]))


@lru_cache(maxsize=1)
def _all_names() -> dict[str, frozenset[int]]:
    return _by_name((name, each.index) for each in imagenet_classes() for name in each.names)


def _by_name(pairs: Iterable[tuple[str, int]]) -> dict[str, frozenset[int]]:
    found: dict[str, set[int]] = {}
    for name, index in pairs:
        found.setdefault(plain(name), set()).add(index)
    return {name: frozenset(indices) for name, indices in found.items()}


def _parse(line: str) -> ImageNetClass:
    index, synset, names = line.split(" ", 2)
    return ImageNetClass(int(index), synset, tuple(names.split(", ")))
