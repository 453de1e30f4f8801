"""`tapetum-build verify`: is the bundle whole and signed, and do its engines compute what its graphs say?"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from edge.arguments import whole
from edge.atomic import write_atomic
from edge.bundles.bundle import Bundle, PrecisionChoice, load_bundle
from edge.bundles.manifest import PRECISIONS
from edge.errors import ConfigError, TapetumError

if TYPE_CHECKING:
    from edge.engines.store import Target
    from trt_build.verification.compare import Comparison

PAGE, REPORT = "verify.png", "verify.json"


def verify_command(options: argparse.Namespace) -> None:
    """Check the bundle; with frames, its engines too."""
    if options.frames is None and (options.out or options.engines):
        raise ConfigError("--out and --engines need frames to compare on: give --frames")
    bundle = load_bundle(options.bundle, options.precision, public_key=options.public_key, allow_refused=True)
    signed = (
        f"signed by {options.public_key}" if options.public_key else "its signature was not checked (--public-key)"
    )
    print(f"{bundle.manifest.name} {bundle.manifest.version}: whole; {signed}")
    if options.frames is not None:
        _verify_engines(bundle, options)


def _verify_engines(bundle: Bundle, options: argparse.Namespace) -> None:
    from trt_build.graphs import list_images, spread
    from trt_build.verification.bundle import engines_here, verify_bundle

    frames = spread(list_images(options.frames), options.count)
    target = _target()
    reference = None if options.reference_precision == "same" else options.reference_precision
    open_engine = engines_here(bundle, options.engines or bundle.folder / "engines", target)
    comparisons = []
    for comparison in verify_bundle(bundle, open_engine, frames, reference):
        comparisons.append(comparison)
        print(_line(comparison))
    if options.out:
        write_results(options.out, bundle, comparisons, target)
        print(f"wrote {options.out / PAGE} and {REPORT}")
    faults = [fault for comparison in comparisons for fault in comparison.exceeded]
    if faults:
        raise TapetumError(f"{'; '.join(faults)}: the engine does not compute what its graph says: build it again")


def _target() -> Target:
    from trt_build.engines.target import target_here

    try:
        return target_here()
    except TapetumError as error:
        raise TapetumError(f"no engine can run here: {error}: run tapetum-build verify on the unit") from error


def _line(comparison: Comparison) -> str:
    figures = ", ".join(
        f"{limit.measure} {comparison.measures[limit.measure]:.3g} ({limit})"
        for limit in comparison.limits
        if limit.measure in comparison.measures
    )
    return f"{comparison.model} {comparison.precision}: {comparison.frames} frames, {figures}"


def write_results(folder: Path, bundle: Bundle, comparisons: Sequence[Comparison], target: Target) -> None:
    """Write the page and the report.

    Raises:
        OSError: the folder cannot be written to.
    """
    from edge.media import write_still
    from trt_build.verification.page import draw_page

    folder.mkdir(parents=True, exist_ok=True)
    write_still(folder / PAGE, draw_page(comparisons, bundle.manifest.labels))
    document = {
        "bundle": bundle.manifest.name,
        "version": bundle.manifest.version,
        "tensorrt": target.tensorrt,
        "gpu": target.gpu,
        "models": {comparison.model: _entry(comparison) for comparison in comparisons},
    }
    write_atomic(folder / REPORT, json.dumps(document, indent=1).encode() + b"\n")


def _entry(comparison: Comparison) -> dict[str, Any]:
    return {
        "precision": comparison.precision,
        "frames": comparison.frames,
        "measures": comparison.measures,
        "limits": {limit.measure: str(limit) for limit in comparison.limits},
        "exceeded": comparison.exceeded,
        "worst_frames": [str(answers.sample.path) for answers in comparison.worst],
    }


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `verify`."""
    parser = commands.add_parser("verify", help="bundle and engines: whole, signed, and right")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--public-key", type=Path, help="PEM file of the key that must have signed the bundle")
    parser.add_argument("--frames", type=Path, help="frames (folder or .txt list) to compare engines and graphs on")
    parser.add_argument("--engines", type=Path, help="folder of the engines; without it, engines/ in the bundle")
    parser.add_argument("--precision", choices=get_args(PrecisionChoice), default="auto")
    parser.add_argument("--count", type=whole(1), default=50, help="how many of the frames")
    parser.add_argument("--out", type=Path, help=f"folder for {PAGE} and {REPORT}")
    parser.add_argument(
        "--reference-precision",
        choices=["same", *PRECISIONS],
        default="same",
        help="graph to compare with: the engine's own, or to see what a precision costs, another",
    )
    parser.set_defaults(run=verify_command)
