"""`tapetum-build pack`: measure every precision, write the bundle."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from edge.arguments import whole
from edge.errors import ConfigError, InputError
from edge.manifest import Calibration
from trt_build.commands.quantize import CALIBRATION
from trt_build.graphs import list_images, spread


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


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `pack`."""
    parser = commands.add_parser("pack", help="measure and write a bundle")
    parser.add_argument("graphs", type=Path, help="folder of exported graphs")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--name", required=True)
    parser.add_argument("--base", type=Path, help="bundle that the networks which were not exported come from")
    parser.add_argument("--bundle-version", default="1")
    parser.add_argument("--ship", nargs="+", choices=["fp32", "int8"], default=["fp32", "int8"])
    parser.add_argument("--chosen", choices=["fp32", "int8"], default="int8", help='what precision "auto" means')
    parser.add_argument("--colour-images", type=Path, help="held-out colour photographs (folder or .txt list)")
    parser.add_argument("--coco", type=Path, help="held-out detection annotations")
    parser.add_argument("--coco-images", type=Path, help="their images")
    parser.add_argument("--boxed-only", action="store_true", help="leave out images in which people boxed nothing")
    parser.add_argument("--count", type=whole(1), default=150, help="how many colour photographs")
    parser.set_defaults(run=pack_command)
