"""`tapetum-build calibrate`: frames to a calibration set, checked."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge.arguments import whole


def calibrate_command(options: argparse.Namespace) -> None:
    """Make a set; what it leaves out and what it lacks is told."""
    from trt_build.calibration.hygiene import OverlapError
    from trt_build.calibration.set import make_set
    from trt_build.calibration.validation import validation_images

    try:
        made = make_set(
            options.frames,
            options.out,
            count=options.count,
            validation=[image for where in options.validation for image in validation_images(where)],
            near_bits=options.near_bits,
        )
    except OverlapError as error:
        for frame, image in error.pairs:
            print(f"{frame}: is validation image {image}")
        raise
    for reason in made.found.corrupt:
        print(f"left out: {reason}")
    for frame, twin in made.found.duplicates:
        print(f"left out: {frame}: like {twin}")
    seen = made.coverage
    print(
        f"{seen.frames} frames of {len(made.found.usable)} usable ones: night {seen.night:.0%}, "
        f"day {1 - seen.night:.0%}; {seen.levels:.0%} of the 256 luma levels, dark {seen.dark:.1%}, "
        f"bright {seen.bright:.1%} of the pixels"
    )
    for warning in seen.warnings():
        print(f"warning: {warning}")
    print(f"wrote {options.out} (sha256 {made.calibration.sha256[:12]}...): look at sheet.png and histogram.png")


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `calibrate`."""
    parser = commands.add_parser("calibrate", help="frames to a calibration set")
    parser.add_argument("frames", type=Path, help="frames of the site: a folder, a .txt list, or a clip")
    parser.add_argument("--out", type=Path, required=True, help="folder for the set")
    parser.add_argument(
        "--validation",
        type=Path,
        nargs="+",
        default=[],
        help="images that accuracy is measured on (folders, .txt lists, COCO .json): none may be among the frames",
    )
    parser.add_argument("--count", type=whole(16), default=200, help="how many frames to take, spread over all")
    parser.add_argument(
        "--near-bits",
        type=whole(0, maximum=16),
        default=4,
        help="bits of 64 in which hashes of the same picture may differ; fewer for a camera that never moves",
    )
    parser.set_defaults(run=calibrate_command)
