"""`tapetum-build`: checkpoint to bundle, from the command line.

export CHECKPOINT --out GRAPHS --images DIR    FP32 ONNX, checked against PyTorch on real images
quantize GRAPHS --frames DIR                   INT8 Q/DQ by static calibration on real frames
pack GRAPHS --out BUNDLE --name N              measure every precision, write the bundle
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from pydantic import ValidationError

from edge import __version__
from edge.atomic import write_atomic
from edge.errors import ConfigError, InputError, TapetumError
from edge.manifest import MODEL_NAMES, Calibration
from trt_build.graphs import graph_path, list_images, spread

CALIBRATION = "calibration.json"


def export_command(options: argparse.Namespace) -> None:
    """Export one checkpoint."""
    from trt_build.export import TOLERANCE, export  # PyTorch is slow to import, and this command alone needs it

    images = spread(list_images(options.images), options.count)
    for name, worst in export(options.checkpoint, options.out, images, options.context_weights).items():
        print(f"{name}: largest difference from PyTorch over {len(images)} images {worst:.2g} (limit {TOLERANCE:g})")


def quantize_command(options: argparse.Namespace) -> None:
    """Quantize the networks of a folder of graphs: all three, or those that were exported into it."""
    from trt_build.quantize import calibration_set, quantize

    frames = spread(list_images(options.frames), options.count)
    exported = [name for name in MODEL_NAMES if graph_path(options.graphs, name, "fp32").exists()]
    for name in exported or MODEL_NAMES:
        print(f"wrote {quantize(options.graphs, name, frames)}")
    write_atomic(options.graphs / CALIBRATION, calibration_set(frames).model_dump_json().encode())


def pack_command(options: argparse.Namespace) -> None:
    """Measure and pack."""
    from trt_build.pack import Judges, pack

    if bool(options.coco) != bool(options.coco_images):
        raise ConfigError("--coco and --coco-images belong together: give both")
    colour = spread(list_images(options.colour_images), options.count) if options.colour_images else []
    manifest = pack(
        options.graphs,
        options.out,
        name=options.name,
        version=options.bundle_version,
        chosen=options.chosen,
        ship=options.ship,
        judges=Judges(colour, options.coco, options.coco_images, options.boxed_only),
        calibration=_calibration(options.graphs),
        base=options.base,
    )
    for name, entry in manifest.models.items():
        for precision, measured in entry.accuracy.items():
            print(f"{name} {precision}: " + json.dumps({k: round(v, 3) for k, v in measured.items()}))
    print(f"wrote {options.out}")


def _calibration(graphs: Path) -> Calibration | None:
    path = graphs / CALIBRATION
    if not path.exists():
        return None
    try:
        return Calibration.model_validate_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: damaged: run tapetum-build quantize again") from error


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code (see edge.errors)."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except TapetumError as error:
        print(f"tapetum-build: {error}", file=sys.stderr)
        return error.exit_code
    except ValidationError as error:  # of the manifest, where the command line's name and version go
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        print(f"tapetum-build: this cannot stand in a manifest: {faults}", file=sys.stderr)
        return ConfigError.exit_code
    except OSError as error:
        print(f"tapetum-build: {error.filename or options.command}: {error.strerror or error}", file=sys.stderr)
        return TapetumError.exit_code
    except KeyboardInterrupt:
        print("tapetum-build: stopped; nothing half-written is left", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tapetum-build", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")

    export = commands.add_parser("export", help="checkpoint to FP32 ONNX")
    export.add_argument("checkpoint", type=Path, help="run folder of tapetum-train")
    export.add_argument("--out", type=Path, required=True, help="folder for the graphs")
    export.add_argument("--images", type=Path, required=True, help="real images (folder or .txt list) to compare on")
    export.add_argument("--count", type=_positive, default=16, help="how many of them")
    export.add_argument("--context-weights", type=Path, help="of a context network that no package brings")
    export.set_defaults(run=export_command)

    quantize = commands.add_parser("quantize", help="FP32 graphs to INT8")
    quantize.add_argument("graphs", type=Path, help="folder of exported graphs")
    quantize.add_argument("--frames", type=Path, required=True, help="frames (folder or .txt list) of the site")
    quantize.add_argument("--count", type=_positive, default=200, help="how many of them")
    quantize.set_defaults(run=quantize_command)

    pack = commands.add_parser("pack", help="measure and write a bundle")
    pack.add_argument("graphs", type=Path, help="folder of exported graphs")
    pack.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    pack.add_argument("--name", required=True)
    pack.add_argument("--base", type=Path, help="bundle that the networks which were not exported come from")
    pack.add_argument("--bundle-version", default="1")
    pack.add_argument("--ship", nargs="+", choices=["fp32", "int8"], default=["fp32", "int8"])
    pack.add_argument("--chosen", choices=["fp32", "int8"], default="int8", help='what precision "auto" means')
    pack.add_argument("--colour-images", type=Path, help="held-out colour photographs (folder or .txt list)")
    pack.add_argument("--coco", type=Path, help="held-out detection annotations")
    pack.add_argument("--coco-images", type=Path, help="their images")
    pack.add_argument("--boxed-only", action="store_true", help="leave out images in which people boxed nothing")
    pack.add_argument("--count", type=_positive, default=150, help="how many colour photographs")
    pack.set_defaults(run=pack_command)
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
