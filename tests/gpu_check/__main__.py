"""Everything that only a GPU can tell, measured: `make gpu-check [KIT=kit] [OUT=docs/measurements]`.

    python3 -m tests.gpu_check [--kit KIT] [--out FOLDER] [--only WORD...] [--add] [--total-s N]

Writes FOLDER/gpu-<its name>.json. A step that fails says there why, and the others go on; exit code 1 tells that some
failed, 3 that the kit cannot be used.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.gpu_check.kit.install import installed
from tests.gpu_check.kit.parts import KitError
from tests.gpu_check.plan import TOTAL_S, plan
from tests.gpu_check.report import added, clocks_now, document, file_name, table
from tests.gpu_check.running import Outcome, Runner, Step


def run_all(
    steps: Sequence[Step], runner: Runner, total_s: float, save: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Run the steps one after the other within `total_s` seconds, and give the document.

    Args:
        save: is given the document after each step, so that a run which is stopped leaves what it had.
    """
    outcomes: dict[str, Outcome] = {}
    clocks: dict[str, Any] = {"before": clocks_now()}
    until_s = time.monotonic() + total_s
    for step in steps:
        left_s = until_s - time.monotonic()
        print(f"{step.name} ...", flush=True)
        outcomes[step.name] = _run(runner, step, left_s, total_s)
        clocks[step.name] = clocks["after"] = clocks_now()
        save(document(outcomes, clocks))
    return document(outcomes, clocks)


def _run(runner: Runner, step: Step, left_s: float, total_s: float) -> Outcome:
    if left_s <= 0:
        return Outcome("not run", reason=f"the {total_s:.0f} s of the whole run were over")
    return runner.run(step, min(step.limit_s, left_s))


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    options = _options(arguments)
    started_s = time.monotonic()
    try:
        place = installed(options.kit)
    except KitError as error:
        print(f"gpu-check: {error}", file=sys.stderr)
        return 3
    chosen = [step for step in plan() if _is_chosen(step, options.only)]
    options.out.mkdir(parents=True, exist_ok=True)
    unfinished = options.out / "gpu-unfinished.json"
    total_s = options.total_s - (time.monotonic() - started_s)
    runner = Runner(place.folder / "logs", (place.python,), place.env)
    found = run_all(chosen, runner, total_s, lambda content: _write(unfinished, content))
    file = options.out / file_name(found)
    if options.add and file.exists():
        found = added(json.loads(file.read_text(encoding="utf-8")), found)
        _write(unfinished, found)
    unfinished.replace(file)
    print(*table(found), sep="\n")
    print(f"wrote {file}; {len(found['failed'])} of {len(found['steps'])} steps failed")
    return 1 if found["failed"] else 0


def _is_chosen(step: Step, words: Sequence[str]) -> bool:
    return not words or step.name == "machine" or any(word in step.name for word in words)


def _write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kit", type=Path, help="what `make gpu-kit` made; without it, this Python's packages")
    parser.add_argument("--out", type=Path, default=Path("docs/measurements"))
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="steps with one of these in their name")
    parser.add_argument("--add", action="store_true", help="to the file that is there: keep its other steps")
    parser.add_argument("--total-s", type=float, default=TOTAL_S, help="seconds that everything may take")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
