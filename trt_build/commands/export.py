"""`tapetum-build export`: a checkpoint to FP32 ONNX, checked against PyTorch on real images."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge.arguments import whole
from trt_build.graphs import list_images, spread


def export_command(options: argparse.Namespace) -> None:
    """Export one checkpoint."""
    from trt_build.export import TOLERANCE, export

    images = spread(list_images(options.images), options.count)
    for name, worst in export(options.checkpoint, options.out, images, options.context_weights).items():
        print(f"{name}: largest difference from PyTorch over {len(images)} images {worst:.2g} (limit {TOLERANCE:g})")


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `export`."""
    parser = commands.add_parser("export", help="checkpoint to FP32 ONNX")
    parser.add_argument("checkpoint", type=Path, help="run folder of tapetum-train")
    parser.add_argument("--out", type=Path, required=True, help="folder for the graphs")
    parser.add_argument("--images", type=Path, required=True, help="real images (folder or .txt list) to compare on")
    parser.add_argument("--count", type=whole(1), default=16, help="how many of them")
    parser.add_argument("--context-weights", type=Path, help="of a context network that no package brings")
    parser.set_defaults(run=export_command)
