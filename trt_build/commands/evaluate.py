"""`tapetum-build evaluate`: accuracy, size and time of each precision of a bundle, and the gate."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from edge.arguments import number, whole
from edge.bundles.manifest import PRECISIONS, Manifest, ModelEntry, Precision
from edge.errors import ConfigError
from trt_build.graphs import list_images, spread

COLUMNS = "{:<11} {:<9} {:>7} {:>8} {:>8} {:>10} {:>6}  {}"
HEADINGS = ("network", "precision", "MiB", "ms/frame", "PSNR dB", "CIEDE2000", "AP50", "verdict")


def evaluate_command(options: argparse.Namespace) -> None:
    """Measure, write the manifest, print the table."""
    from trt_build.evaluate import check_something_is_left, evaluate
    from trt_build.judging.figures import Subjects
    from trt_build.judging.gate import Limits
    from trt_build.signing import read_private_key

    _check(options)
    key = read_private_key(options.sign) if options.sign else None
    colour = spread(list_images(options.images), options.count) if options.images else []
    manifest, unsigned = evaluate(
        options.bundle,
        Subjects.read(colour, options.coco, options.coco_images, boxed_only=options.boxed_only),
        Limits(options.max_psnr_loss, options.max_ap50_loss),
        key=key,
        tell=lambda line: print(line, file=sys.stderr),
    )
    for line in table(manifest):
        print(line)
    if unsigned:
        print("the signature no longer fits and is removed: sign again with tapetum-build sign")
    check_something_is_left(manifest)


def table(manifest: Manifest) -> list[str]:
    """One line for each precision of each network; a star marks what precision = "auto" takes."""
    lines = [COLUMNS.format(*HEADINGS)]
    for model, entry in manifest.models.items():
        for precision in PRECISIONS:
            if precision in entry.precisions or precision in entry.accuracy:
                lines.append(COLUMNS.format(model, *_cells(entry, precision)).rstrip())
    costs = [cost for entry in manifest.models.values() for cost in entry.cost.values()]
    machine = f"; one thread, {costs[-1].runtime}, {costs[-1].machine}" if costs else ""
    return [*lines, f'* is what precision = "auto" takes{machine}']


def _cells(entry: ModelEntry, precision: Precision) -> tuple[str, ...]:
    from trt_build.judging.gate import ap50_key

    cost, figures = entry.cost.get(precision), entry.accuracy.get(precision, {})
    star = " *" if precision == entry.chosen else ""
    return (
        f"{precision}{star}",
        f"{cost.bytes / 2**20:.1f}" if cost else "-",
        f"{cost.median_ms:.1f}" if cost else "-",
        _figure(figures, "psnr_db", "{:.2f}"),
        _figure(figures, "ciede2000", "{:.2f}"),
        _figure(figures, ap50_key(figures) or "", "{:.3f}"),
        _verdict(entry, precision),
    )


def _figure(figures: Mapping[str, float], key: str, form: str) -> str:
    return form.format(figures[key]) if key in figures else "-"


def _verdict(entry: ModelEntry, precision: Precision) -> str:
    left_out = "" if precision in entry.precisions else " (not in this bundle)"
    if precision in entry.refused:
        return f"refused: {entry.refused[precision]}{left_out}"
    return ("good" if precision in entry.accuracy else "not judged") + left_out


def _check(options: argparse.Namespace) -> None:
    if bool(options.coco) != bool(options.coco_images):
        raise ConfigError("--coco and --coco-images belong together: give both")
    if not (options.images or options.coco):
        raise ConfigError("there is nothing to judge by: give --images, or --coco with --coco-images, or all")


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `evaluate`."""
    parser = commands.add_parser("evaluate", help="measure each precision of a bundle, refuse those that lose much")
    parser.add_argument("bundle", type=Path, help="folder of the bundle; its manifest is rewritten")
    parser.add_argument("--images", type=Path, help="held-out colour photographs (folder or .txt list)")
    parser.add_argument("--count", type=whole(1), default=150, help="how many of them")
    parser.add_argument("--coco", type=Path, help="held-out detection annotations")
    parser.add_argument("--coco-images", type=Path, help="their images")
    parser.add_argument("--boxed-only", action="store_true", help="leave out images in which people boxed nothing")
    parser.add_argument(
        "--max-psnr-loss", type=number(0, 100), default=0.3, help="dB against the most exact precision"
    )
    parser.add_argument("--max-ap50-loss", type=number(0, 100), default=1.5, help="points (hundredths) of AP50")
    parser.add_argument("--sign", type=Path, metavar="KEY", help="private key, to sign the new manifest")
    parser.set_defaults(run=evaluate_command)
