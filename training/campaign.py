"""`tapetum-train all`: every network of docs/models.md, one after another, then their figures. Resumes where it was.

DATA/colorizer/train            colour photographs
DATA/recognizer/{train,val}     photographs, with train.json and val.json (COCO format) beside them
DATA/nir/pairs                  real pairs of near infrared and colour (may be absent)
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.arguments import whole
from edge.errors import InputError, TapetumError
from training.checkpoint import STATE, read_card
from training.learning.tasks import HELD_OUT
from training.tables.table1 import SIZES

Main = Callable[[list[str]], int]
COMPARED = ("field", "paper", "zhang", "iizuka")


@dataclass(frozen=True)
class Profile:
    """How much of everything: `compared` is for table 2, where all see the same number of crops."""

    recognizer: tuple[int, int]  # steps, images a step
    recognizer_paper: tuple[int, int]
    colorizer: tuple[int, int]
    compared: tuple[int, int]
    crop_px: int
    workers: int
    rounds: int
    sizes: tuple[str, ...] = SIZES


PROFILES = {
    # One GPU and 16 cores, in some 20 minutes: estimated from multiply-adds, not measured on one yet.
    "gpu": Profile((9000, 32), (3000, 32), (7000, 32), (1500, 32), crop_px=192, workers=14, rounds=20),
    # Two CPU cores, some 3 hours.
    "cpu": Profile((5000, 8), (800, 8), (4500, 11), (300, 16), crop_px=192, workers=0, rounds=5),
    # Does it all run? The networks learn nothing.
    "smoke": Profile((1, 2), (1, 2), (1, 2), (1, 2), crop_px=64, workers=0, rounds=1, sizes=("64x64",)),
}


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `all`."""
    parser = commands.add_parser(
        "all",
        help="train and measure everything behind docs/models.md",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="folder laid out as above")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs and the figures")
    parser.add_argument("--profile", choices=tuple(PROFILES), default="gpu")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--seed", type=whole(0), default=0)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Train what is not trained yet, then measure.

    Raises:
        InputError: the data are not laid out as they must be.
        TapetumError: a step failed; what was done stays, and the same command goes on from there.
    """
    from training.__main__ import main

    for part in ("colorizer/train", "recognizer/train", "recognizer/val"):
        if not (options.data / part).is_dir():
            raise InputError(f"{options.data}: has no folder {part}: see tapetum-train all --help")
    started = time.monotonic()
    for name, command in steps(options, PROFILES[options.profile]):
        print(f"== {name} ({time.monotonic() - started:.0f} s)", file=sys.stderr)
        code = main(command)
        if code == 130:
            raise KeyboardInterrupt
        if code:
            raise TapetumError(f"{name} failed: correct it and give the same command again")


def steps(options: argparse.Namespace, profile: Profile) -> Iterator[tuple[str, list[str]]]:
    """(name, arguments of tapetum-train) of what is left to do, in order; looked up as it is reached."""
    data, out = options.data, options.out
    never = ["--never", str(data / "recognizer/val")]
    boxed = [
        "--boxed-only",
        "--coco",
        str(data / "recognizer/train.json"),
        "--images",
        str(data / "recognizer/train"),
        *never,
    ]
    repeats = ["--repeat", "helmet=3", "head=3", "person=2", "horse=1.3", "cow=1.3", "sheep=1.3"]
    photographs = ["--images", str(data / "colorizer/train"), str(data / "recognizer/train"), *never]
    crop = ["--crop-px", str(profile.crop_px)]
    trainings = {
        "colorizer-field": ("colorizer", "field", profile.colorizer, [*photographs, *crop, "--nir", "0.4"]),
        "recognizer-field": ("recognizer", "field", profile.recognizer, [*boxed, *repeats]),
        "recognizer-paper": ("recognizer", "paper", profile.recognizer_paper, [*boxed, *repeats]),
    }
    for variant in COMPARED:
        small = [*photographs, "--crop-px", str(min(128, profile.crop_px))]
        trainings[f"table2-{variant}"] = ("colorizer", variant, profile.compared, small)
    for name, (network, variant, (count, batch), arguments_) in trainings.items():
        folder = out / name
        done = read_card(folder).step if (folder / STATE).exists() else 0
        if done < count:
            common = ["--out", str(folder), "--steps", str(count), "--batch", str(batch), "--seed", str(options.seed)]
            common += ["--init", "imagenet", "--workers", str(profile.workers), "--device", options.device]
            resume = ["--resume"] if done else []
            yield name, [network, "--variant", variant, *arguments_, *common, *resume]
    yield from _figures(options, profile)


def _figures(options: argparse.Namespace, profile: Profile) -> Iterator[tuple[str, list[str]]]:
    data, out = options.data, options.out
    held_out = str(out / "colorizer-field" / HELD_OUT)
    pairs = ["--pairs", str(data / "nir/pairs")] if (data / "nir/pairs").is_dir() else []
    for variant in ("field", "paper"):
        run_folder = out / f"recognizer-{variant}"
        judged = ["--coco", str(data / "recognizer/val.json"), "--images", str(data / "recognizer/val")]
        written = ["--checkpoint", str(run_folder), "--out", str(out / f"recognizer-{variant}.json")]
        yield f"evaluate recognizer-{variant}", ["evaluate", "recognizer", *judged, *written]
    written = ["--checkpoint", str(out / "colorizer-field"), "--out", str(out / "colorizer-field.json")]
    sheet = ["--sheet", str(out / "colorizer-field.png")]
    yield "evaluate colorizer", ["evaluate", "colorizer", "--images", held_out, *pairs, *written, *sheet]
    tables = ["--out", str(out), "--rounds", str(profile.rounds), "--device", options.device]
    yield "table 1", ["report", "table1", "--sizes", *profile.sizes, *tables]
    runs = [f"{variant}={out / f'table2-{variant}'}" for variant in COMPARED]
    yield "table 2", ["report", "table2", "--images", held_out, "--runs", *runs, *tables]
