"""`tapetum-build quantize`: exported graphs to INT8, calibrated with real frames."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge.arguments import whole
from edge.atomic import write_atomic
from edge.manifest import MODEL_NAMES
from trt_build.graphs import graph_path, list_images, spread

CALIBRATION = "calibration.json"


def quantize_command(options: argparse.Namespace) -> None:
    """Quantize the networks of a folder of graphs: all three, or those that were exported into it."""
    from trt_build.quantize import calibration_set, quantize

    frames = spread(list_images(options.frames), options.count)
    exported = [name for name in MODEL_NAMES if graph_path(options.graphs, name, "fp32").exists()]
    for name in exported or MODEL_NAMES:
        print(f"wrote {quantize(options.graphs, name, frames)}")
    write_atomic(options.graphs / CALIBRATION, calibration_set(frames).model_dump_json().encode())


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `quantize`."""
    parser = commands.add_parser("quantize", help="FP32 graphs to INT8")
    parser.add_argument("graphs", type=Path, help="folder of exported graphs")
    parser.add_argument("--frames", type=Path, required=True, help="frames (folder or .txt list) of the site")
    parser.add_argument("--count", type=whole(1), default=200, help="how many of them")
    parser.set_defaults(run=quantize_command)
