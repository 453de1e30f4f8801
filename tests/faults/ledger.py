"""What the unit put against what came: the proof that no event was lost.

The unit logs each event's identity (at the level "debug") before it does anything with it: that is what was put. What
came is what a subscriber received. An event that was in memory alone when the process was killed is not counted as
lost: the service promises what its spool has on disk (docs/mqtt.md). It is counted apart.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

_PUT = re.compile(r" DEBUG edge\.\S+: event (\S+)$", re.MULTILINE)


def events_put(log: str) -> list[str]:
    """The identities of the events in a unit's log, in their order."""
    return _PUT.findall(log)


@dataclass(frozen=True)
class Balance:
    """All empty but `repeated` and `unsaved`: at least once was promised, and only what is on disk."""

    put: int
    lost: list[str]
    unsaved: list[str]  # in memory alone when the process was killed
    repeated: int
    unknown: list[str]  # came, but were never put
    disordered: list[str]  # came after one that was put later
    endless: list[str]  # tracks that never left, conditions that never went off

    @property
    def is_even(self) -> bool:
        return not (self.lost or self.unknown or self.disordered or self.endless)


@dataclass
class Ledger:
    """One unit over all its lives."""

    _unsaved: set[str] = field(default_factory=set)
    _cut_off: set[str] = field(default_factory=set)  # tracks and conditions that were open at a kill

    def note_death(self, put: Sequence[str], on_disk: Collection[str], came: Collection[str]) -> None:
        """A process was killed. `put` are the events of its life, `on_disk` those that its spool held then.

        Only the newest can have been in memory alone: an older one that is missing was lost before.
        """
        for identity in reversed(put):
            if identity in on_disk or identity in came:
                break
            self._unsaved.add(identity)
        self._cut_off |= _followed(put)

    def balance(self, put: Sequence[str], came: Sequence[str]) -> Balance:
        """`put` over all lives; `came` in the order of arrival, with repeats."""
        place = {identity: number for number, identity in enumerate(put)}
        first = dict.fromkeys(came)
        missing = [identity for identity in put if identity not in first]
        known = [identity for identity in first if identity in place]
        by_thread = ([i for i in known if _is_condition(i) is kind] for kind in (False, True))
        return Balance(
            put=len(put),
            lost=[identity for identity in missing if identity not in self._unsaved],
            unsaved=[identity for identity in missing if identity in self._unsaved],
            repeated=len(came) - len(first),
            unknown=[identity for identity in first if identity not in place],
            disordered=[late for identities in by_thread for late in _disordered(identities, place)],
            endless=sorted(_followed(put) - self._cut_off),
        )


def _disordered(identities: Sequence[str], place: Mapping[str, int]) -> Iterator[str]:
    for before, after in pairwise(identities):
        if place[after] < place[before]:
            yield after


def _is_condition(identity: str) -> bool:
    """Conditions of the station are told by other threads than what the camera sees."""
    return identity.split("-")[1] in ("on", "off")


def _followed(put: Iterable[str]) -> set[str]:
    """The tracks that have appeared and not left, and the conditions that are on."""
    open_ones: set[str] = set()
    for identity in put:
        subject, kind, *_ = identity.split("-")
        if kind in ("appear", "on"):
            open_ones.add(subject)
        elif kind in ("leave", "off"):
            open_ones.discard(subject)
    return open_ones
