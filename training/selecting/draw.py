"""A balanced draw from a photo library: every class its share, no photograph twice, the same for the same seed."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from edge.errors import InputError
from training.data.images import images_under, is_grey, read_rgb
from training.data.split import HASH_DISTANCE, difference_hash, hash_of
from training.selecting.sightings import Sighting

FLOOR = 20  # photographs at least, for a class that is surely there
Verdict = Literal["good", "broken", "grey", "alike"]


@dataclass
class Share:
    """What one thing that was seen asked for and got; an `assured` one is to get the floor at least.

    `also` names things of less weight that lead to the very same folders. `left` are the photographs of these
    folders that were not yet looked at.
    """

    seen: Sighting
    folders: Sequence[Path]
    assured: bool = True
    also: list[str] = field(default_factory=list)
    wanted: int = 0
    drawn: list[Path] = field(default_factory=list)
    passed_over: Counter[Verdict] = field(default_factory=Counter)
    left: list[Path] = field(default_factory=list)

    def why(self) -> str:
        """One line about a class that got more or fewer than it wanted, or speaks for others."""
        remarks = [f"for {', '.join(self.also)} too"] if self.also else []
        if len(self.drawn) > self.wanted:
            remarks.append(f"{len(self.drawn) - self.wanted} more in place of others")
        if len(self.drawn) < self.wanted:
            causes = "".join(f", {count} {verdict}" for verdict, count in sorted(self.passed_over.items()))
            remarks.append(f"the library has {len(self.drawn) + sum(self.passed_over.values())}{causes}")
        return "; ".join(remarks)


class Sieve:
    """Lets colour photographs through, each but once: none that looks like an earlier one, or like one of `never`."""

    def __init__(self, never: Sequence[Path] = ()) -> None:
        hashes = [value for value in map(difference_hash, never) if value is not None]
        self._known = np.array(hashes, np.uint8).reshape(-1, 64)

    def judge(self, file: Path) -> Verdict:
        try:
            rgb = read_rgb(file, reduced=2)
        except InputError:
            return "broken"
        if is_grey(rgb):
            return "grey"
        value = hash_of(np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8))
        if len(self._known) and int((self._known != value).sum(axis=1).min()) <= HASH_DISTANCE:
            return "alike"
        self._known = np.concatenate([self._known, value[None]])
        return "good"


def draw(
    shares: Sequence[Share], count: int, sieve: Sieve, *, seed: int = 0, tick: Callable[[], object] = lambda: None
) -> None:
    """Draw up to `count` photographs into the shares; what one class lacks goes to the others.

    Shares follow the square root of their weight, so that frequent classes do not take all. `tick` is called for
    each photograph that is drawn.
    """
    for share in shares:
        share.left = _shuffled(share, seed)
    floor = min(FLOOR, count // max(1, len(shares)))
    quotas = apportion(count, [s.seen.weight**0.5 for s in shares], [floor * s.assured for s in shares])
    for share, quota in zip(shares, quotas, strict=True):
        share.wanted = quota
        _take(share, quota, sieve, tick)
    while (lacking := count - sum(len(s.drawn) for s in shares)) and (able := [s for s in shares if s.left]):
        quotas = apportion(lacking, [s.seen.weight**0.5 for s in able], [0] * len(able))
        for share, quota in zip(able, quotas, strict=True):
            _take(share, quota, sieve, tick)


def apportion(count: int, weights: Sequence[float], floors: Sequence[int]) -> list[int]:
    """Share `count` out by weight, each at least its floor; the sum is exact (largest remainders).

    The floors together must not exceed `count`.
    """
    fixed: dict[int, int] = {}
    while True:
        free = [i for i in range(len(weights)) if i not in fixed]
        rest = count - sum(fixed.values())
        total = sum(weights[i] for i in free)
        ideal = {i: rest * weights[i] / total for i in free}
        low = {i: floors[i] for i in free if ideal[i] < floors[i]}
        if not low:
            break
        fixed |= low
    whole = {i: int(value) for i, value in ideal.items()}
    by_remainder = sorted(free, key=lambda i: whole[i] - ideal[i])
    for i in by_remainder[: rest - sum(whole.values())]:
        whole[i] += 1
    return [(fixed | whole)[i] for i in range(len(weights))]


def _take(share: Share, quota: int, sieve: Sieve, tick: Callable[[], object]) -> None:
    while quota and share.left:
        file = share.left.pop()
        verdict = sieve.judge(file)
        if verdict == "good":
            share.drawn.append(file)
            quota -= 1
            tick()
        else:
            share.passed_over[verdict] += 1


def _shuffled(share: Share, seed: int) -> list[Path]:
    files = [file for folder in share.folders for file in images_under(folder)]
    # its own generator: another class more or less does not change what this one draws
    own = zlib.crc32(f"{share.seen.kind} {share.seen.name}".encode())
    return [files[i] for i in np.random.default_rng((seed, own)).permutation(len(files))]
