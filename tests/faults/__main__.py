"""All faults, n times each: `make faults [TIMES=5] [ARGS=...]`.

    python -m tests.faults [--times N] [--only WORD... | --exactly NAME] [--scene NAME] [--fps N] [--add] [--out FILE]

Where the kernel allows it, all runs in network and mount namespaces of its own. Exit code 1 tells that an event was
lost or that the unit did not recover.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from edge.atomic import write_atomic
from tests.faults.apart import run_apart
from tests.faults.catalogue import FAULTS
from tests.faults.document import document, outcomes_of
from tests.faults.measure import Outcome, measure
from tests.faults.scene import SCENES
from tests.faults.station import CAMERA_FPS
from tests.faults.table import table


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    options = _options(arguments)
    chosen = [fault for fault in FAULTS if _is_chosen(fault.name, options)]
    if not chosen:
        names = "\n  ".join(fault.name for fault in FAULTS)
        print(f"faults: there is no such fault; there are\n  {names}", file=sys.stderr)
        return 2
    found = {outcome.fault: outcome for outcome in outcomes_of(options.out)} if options.add else {}
    with tempfile.TemporaryDirectory(prefix="faults-") as scratch:
        seen = SCENES[options.scene](Path(scratch) / "scene")
        for fault in chosen:
            found[fault.name] = measure(fault, options.times, seen, options.fps)
            write_atomic(options.out, document({"scene": options.scene, "fps": options.fps}, _in_order(found)))
    print(table(_in_order(found)))
    print(f"wrote {options.out}")
    return 1 if any(found[fault.name].failed for fault in chosen) else 0


def _in_order(found: Mapping[str, Outcome]) -> list[Outcome]:
    return [found[fault.name] for fault in FAULTS if fault.name in found]


def _is_chosen(name: str, options: argparse.Namespace) -> bool:
    if options.exactly:
        return bool(name == options.exactly)
    return not options.only or any(word in name for word in options.only)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="faults", description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=5, help="how often each is injected")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="WORD", help="faults with one of these in their name"
    )
    parser.add_argument("--exactly", metavar="NAME", help="this fault alone")
    parser.add_argument("--scene", choices=SCENES, default="shipped", help="clip and bundle")
    parser.add_argument("--fps", type=int, default=CAMERA_FPS, help="pictures that the camera makes in a second")
    parser.add_argument("--add", action="store_true", help="to the file that is there: keep its other faults")
    parser.add_argument("--out", type=Path, default=Path("docs/measurements/faults.json"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(run_apart(main, "tests.faults"))
