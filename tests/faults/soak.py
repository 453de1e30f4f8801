"""A long run with everything that happens: `make soak MINUTES=n [ARGS=...]`.

    python -m tests.faults.soak --minutes N [--scene shipped|drawn] [--fps N] [--calm S] [--out FOLDER]

One process of the service lives through faults in a random order, with normal life between them. Once a second its
memory, descriptors, threads, latency and frame rate are noted. At the end: FOLDER/soak.json, FOLDER/soak.png, and
exit code 1 when an event was lost, the process ended, or its memory grew by GOAL_MB_PER_H or more after the warm-up.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edge.atomic import write_atomic
from tests.faults.apart import run_apart
from tests.faults.catalogue import FAULTS, Fault, nothing
from tests.faults.document import machine_now
from tests.faults.ledger import Balance
from tests.faults.plot import plot
from tests.faults.scene import SCENES
from tests.faults.station import CAMERA_FPS, Station
from tests.faults.trend import slope

GOAL_MB_PER_H = 2.0
WARM_UP = 0.3  # share of the run, in which allocators and caches find their size
PARTS = ("clock",)
SAMPLE_S = 1.0


@dataclass
class Course:
    """What happened when, in seconds since the start; one entry a sample in each list."""

    at_s: list[float] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    p50_ms: list[float | None] = field(default_factory=list)
    p99_ms: list[float | None] = field(default_factory=list)
    fps: list[float] = field(default_factory=list)
    faults: list[tuple[str, float, float]] = field(default_factory=list)  # name, begin, well again
    failed: str = ""  # how the unit was when it did not get well again

    def growth_per_h(self, name: str) -> float:
        """Of a figure, after the warm-up, an hour."""
        begin = next(number for number, at_s in enumerate(self.at_s) if at_s >= WARM_UP * self.at_s[-1])
        return slope(self.at_s[begin:], getattr(self, name)[begin:]) * 3600


def soak(station: Station, minutes: float, calm_s: float, seed: int) -> Course:
    """Faults and normal life by turns, for so long, or until the unit is not well any more."""
    course, began_s = Course(), time.monotonic()
    over = threading.Event()
    sampler = threading.Thread(target=_sample, args=(station, course, began_s, over), daemon=True)
    sampler.start()
    dice = random.Random(seed)
    order = _endless(dice)
    while not course.failed and time.monotonic() - began_s < minutes * 60:
        time.sleep(dice.uniform(0.5, 1.5) * calm_s)
        fault, strike_s = next(order), time.monotonic()
        with fault.strike(station):
            time.sleep(fault.lasts_s)
        try:
            station.wait_well(time.monotonic())
        except AssertionError as error:
            course.failed = f"{fault.name}: {error}"
        course.faults.append((fault.name, strike_s - began_s, time.monotonic() - began_s))
        print(f"{(time.monotonic() - began_s) / 60:5.1f} min  {fault.name}: {station.unit.rss_mb:.1f} MB", flush=True)
    over.set()
    sampler.join()
    return course


def _endless(dice: random.Random) -> Iterator[Fault]:
    """All faults that one process can live through, in a new order each time."""
    chosen = [fault for fault in FAULTS if _is_for_one_life(fault)]
    while True:
        yield from dice.sample(chosen, len(chosen))


def _is_for_one_life(fault: Fault) -> bool:
    return not fault.ends_process and fault.strike is not nothing and set(fault.parts) <= set(PARTS)


def _sample(station: Station, course: Course, began_s: float, over: threading.Event) -> None:
    while not over.wait(SAMPLE_S):
        health = station.health[-1].payload
        course.at_s.append(round(time.monotonic() - began_s, 2))
        course.rss_mb.append(round(station.unit.rss_mb, 2))
        course.descriptors.append(station.unit.descriptors)
        course.threads.append(station.unit.threads)
        course.p50_ms.append(health["latency_ms"]["p50"])
        course.p99_ms.append(health["latency_ms"]["p99"])
        course.fps.append(health["fps"]["colour"])


def summary(course: Course, balance: Balance, deaths: int) -> dict[str, Any]:
    """What is told at the end."""
    return {
        "minutes": round(course.at_s[-1] / 60, 1),
        "faults": len(course.faults),
        "deaths": deaths,
        "events": balance.put,
        "events_lost": len(balance.lost),
        "balance_even": balance.is_even,
        "rss_mb": [course.rss_mb[0], course.rss_mb[-1]],
        "rss_growth_mb_per_h": round(course.growth_per_h("rss_mb"), 2),
        "descriptors_growth_per_h": round(course.growth_per_h("descriptors"), 2),
        "threads_growth_per_h": round(course.growth_per_h("threads"), 2),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        seen = SCENES[options.scene](Path(scratch) / "scene")
        with Station(Path(scratch), seen, parts=PARTS, fps=options.fps) as station:
            station.wait_well()
            course = soak(station, options.minutes, options.calm, options.seed)
            found = summary(course, station.settle(), len(station.unit.deaths))
    settings = {"scene": options.scene, "fps": options.fps, "calm_s": options.calm, "seed": options.seed}
    content = {"machine": machine_now(), **settings, "summary": found, "course": asdict(course)}
    write_atomic(options.out / "soak.json", (json.dumps(content) + "\n").encode())
    plot(content, options.out / "soak.png")
    print(json.dumps(found, indent=1))
    print(course.failed)
    is_good = (
        found["balance_even"]
        and not (found["deaths"] or course.failed)
        and found["rss_growth_mb_per_h"] < GOAL_MB_PER_H
    )
    return 0 if is_good else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--scene", choices=SCENES, default="shipped", help="clip and bundle")
    parser.add_argument("--fps", type=int, default=CAMERA_FPS, help="pictures that the camera makes in a second")
    parser.add_argument("--calm", type=float, default=20.0, help="seconds of normal life between faults, on average")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("docs/measurements"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(run_apart(main, "tests.faults.soak"))
