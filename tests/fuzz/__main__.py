"""`make fuzz`: spoilt inputs for each reader of outside bytes; `python -m tests.fuzz repeat FILE` feeds one again."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

from edge.atomic import write_atomic
from tests.fuzz.finding import target_of
from tests.fuzz.run import HAS_ATHERIS, Plan, Tally, run, table
from tests.fuzz.target import is_taken
from tests.fuzz.targets import WHERE, target_class

SELDOM_S = 30.0  # between lines of a log


def main() -> int:
    options = _options()
    return _repeat(options.files) if options.command == "repeat" else _run(options)


def _run(options: argparse.Namespace) -> int:
    plan = Plan(options.count, options.seed, options.out, options.seconds, options.jobs)
    print(f"fuzz: seed {plan.seed}; " + ("half of it led by atheris" if HAS_ATHERIS else "blind: no atheris here"))
    tallies = run(plan, options.targets or list(WHERE), _Progress().say)
    print("\n" + table(tallies))
    for finding in (finding for tally in tallies for finding in tally.findings):
        print(f"finding: {finding}")
    if options.report:
        write_atomic(options.report, json.dumps(_report(plan, tallies), indent=2).encode() + b"\n")
    return 1 if any(tally.findings for tally in tallies) else 0


def _report(plan: Plan, tallies: list[Tally]) -> dict[str, object]:
    rows = {
        tally.target: {
            "inputs": tally.inputs,
            "guided": tally.guided,
            "taken": tally.taken,
            "refused": tally.refused,
            "per_s": round(tally.per_s, 1),
            "slowest_ms": round(tally.slowest_s * 1e3, 1),
            "findings": len(tally.findings),
        }
        for tally in tallies
    }
    return {
        "command": f"make fuzz COUNT={plan.count} SEED={plan.seed}",
        "machine": f"{platform.machine()}, {os.cpu_count()} CPU cores, Python {platform.python_version()}",
        "inputs": sum(tally.inputs for tally in tallies),
        "targets": rows,
    }


class _Progress:
    """How far it is: always, where somebody looks; else now and then."""

    def __init__(self) -> None:
        self._told_s = time.monotonic()

    def say(self, line: str) -> None:
        """A line that begins with \\r takes the place of the one before."""
        if not line.startswith("\r"):
            print(f"\n{line}" if sys.stdout.isatty() else line, flush=True)
        elif sys.stdout.isatty():
            print(line, end="", flush=True)
        elif time.monotonic() >= self._told_s + SELDOM_S:
            self._told_s = time.monotonic()
            print(line[1:], flush=True)


def _repeat(files: list[Path]) -> int:
    """In this process, so that a debugger sees it."""
    for file in files:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            target = target_class(target_of(file))(Path(folder))
            try:
                print(f"{file}: {'taken' if is_taken(target, file.read_bytes()) else 'refused, as it should be'}")
                target.after_batch()
            finally:
                target.close()
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.fuzz", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run", help="many inputs")
    runs.add_argument("--count", type=int, default=100_000, help="inputs in all")
    runs.add_argument("--seed", type=int, default=1)
    runs.add_argument("--seconds", type=float, default=1e9, help="for all, at most")
    runs.add_argument("--jobs", type=int, default=os.cpu_count())
    runs.add_argument("--out", type=Path, default=Path(".cache/fuzz"), help="folder of findings")
    runs.add_argument("--report", type=Path, help="write the table as JSON")
    runs.add_argument("targets", nargs="*", choices=[[], *WHERE])
    again = commands.add_parser("repeat", help="saved inputs once more")
    again.add_argument("files", type=Path, nargs="+")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
