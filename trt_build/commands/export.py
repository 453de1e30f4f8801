"""`tapetum-build export`: a checkpoint to FP32 ONNX that TensorRT takes, checked against PyTorch."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge.arguments import whole
from edge.vision.preprocess import Size
from trt_build.graphs import list_images, spread

STRIDE = 32  # of the deepest feature map
SMALLEST_PX = 64  # a smaller one has fewer anchors than a recognizer has slots
LARGEST_PX = 4096


def export_command(options: argparse.Namespace) -> None:
    """Export one checkpoint."""
    from trt_build.export import export

    images = spread(list_images(options.images), options.count)
    differences = export(
        options.checkpoint, options.out, images, size=options.size, context_weights=options.context_weights
    )
    for difference in differences:
        print(difference)


def picture_size(text: str) -> Size:
    """SIDE or WIDTHxHEIGHT in pixels, multiples of 32, as (height, width)."""
    sides = text.split("x")
    parse = whole(SMALLEST_PX, STRIDE, maximum=LARGEST_PX)
    if len(sides) > 2:
        raise argparse.ArgumentTypeError(f"{text!r} is neither SIDE nor WIDTHxHEIGHT, such as 320 or 416x256")
    width, height = parse(sides[0]), parse(sides[-1])
    return height, width


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `export`."""
    parser = commands.add_parser("export", help="checkpoint to FP32 ONNX")
    parser.add_argument("checkpoint", type=Path, help="run folder of tapetum-train")
    parser.add_argument("--out", type=Path, required=True, help="folder for the graphs")
    parser.add_argument("--images", type=Path, required=True, help="real images (folder or .txt list) to compare on")
    parser.add_argument("--count", type=whole(1), default=16, help="how many of them")
    parser.add_argument(
        "--size",
        type=picture_size,
        metavar="SIDE|WIDTHxHEIGHT",
        help="of the network's picture, multiples of 32, such as 320 or 416x256; else that of its training",
    )
    parser.add_argument("--context-weights", type=Path, help="of a context network that no package brings")
    parser.set_defaults(run=export_command)
