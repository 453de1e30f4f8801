"""One fault, n times, at a station of its own."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from tests.faults.catalogue import Fault
from tests.faults.scene import Scene
from tests.faults.station import Station

CALM_S = 2.0  # between two strikes


@dataclass
class Outcome:
    """What a fault did, over all its strikes; `skipped` or `failed` says in one line why there are no figures."""

    fault: str
    times: int = 0
    recover_s: list[float] = field(default_factory=list)
    video_s: list[float] = field(default_factory=list)
    messages_s: list[float] = field(default_factory=list)
    frames_lost: list[int] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)  # before, and after each strike
    events: int = 0
    events_lost: int = 0
    events_unsaved: int = 0
    events_repeated: int = 0
    restarts: int = 0
    skipped: str = ""
    failed: str = ""

    @property
    def growth_mb(self) -> float | None:
        """Of memory, from the first strike, which warms up what the fault needs, to the last."""
        return self.rss_mb[-1] - self.rss_mb[1] if len(self.rss_mb) > 2 else None

    def figures(self) -> dict[str, Any]:
        """For the JSON file."""
        summary = {}
        if self.recover_s:
            summary = {"recover_median_s": median(self.recover_s), "recover_worst_s": max(self.recover_s)}
            summary |= {"frames_lost_median": median(self.frames_lost)}
        return asdict(self) | summary | {"growth_mb": self.growth_mb}


def measure(fault: Fault, times: int, scene: Scene, fps: int, tell: Callable[[str], None] = print) -> Outcome:
    """Strike so often, each time when all is well again, and draw the balance of events at the end."""
    outcome = Outcome(fault.name)
    with tempfile.TemporaryDirectory(prefix="faults-") as scratch:
        folder = Path(scratch)
        if reason := fault.why_not(folder / "state"):
            outcome.skipped = reason
            return outcome
        try:
            with Station(folder, scene, parts=fault.parts, fps=fps) as station:
                station.wait_well()
                outcome.rss_mb.append(station.rss_mb())
                for number in range(times):
                    strike(fault, station, outcome)
                    tell(f"{fault.name}: {number + 1} of {times}, well after {outcome.recover_s[-1]:.1f} s")
                settle(station, outcome)
        except Exception as error:  # the others' figures are not its affair
            outcome.failed = f"{type(error).__name__}: {error}"
    return outcome


def strike(fault: Fault, station: Station, outcome: Outcome) -> None:
    """Once, and until all is well again."""
    time.sleep(CALM_S)
    made, taken = station.count_frames()
    with fault.strike(station):
        began_s = time.monotonic()
        time.sleep(fault.lasts_s)
    since_s = began_s if fault.ends_process and not fault.lasts_s else time.monotonic()
    took = station.wait_well(since_s)
    made_then, taken_then = station.count_frames()
    outcome.times += 1
    outcome.recover_s.append(round(took["all"], 2))
    outcome.video_s.append(round(took["video"], 2))
    outcome.messages_s.append(round(took["messages"], 2))
    outcome.frames_lost.append(max(0, made_then - made - (taken_then - taken)))
    outcome.rss_mb.append(round(station.rss_mb(), 1))


def settle(station: Station, outcome: Outcome) -> None:
    """Stop the unit, and draw the balance of all that happened at the station."""
    balance = station.settle()
    outcome.events, outcome.events_lost = balance.put, len(balance.lost)
    outcome.events_unsaved, outcome.events_repeated = len(balance.unsaved), balance.repeated
    outcome.restarts = len(station.unit.deaths)
    if not balance.is_even:
        outcome.failed = f"the balance of events is not even: {balance}"
