"""`tapetum-train report`: the paper's two tables, measured anew, beside the paper's own figures."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from edge.arguments import whole
from edge.atomic import write_atomic
from edge.errors import InputError
from training.arguments import size
from training.data.images import find_images
from training.judging.plots import bars
from training.learning.devices import choose_device
from training.models.catalogue import COLORIZERS
from training.models.colorizer import ABLATIONS
from training.outputs import write_json
from training.provenance import circumstances
from training.tables import table1, table2

PLOTTED = {"pytorch_fp32", "openvino_int8", "pytorch_fp16"}  # of table 1: where all start, and what would ship
PACKAGES = ("torch", "onnxruntime", "numpy")


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `report table1` and `report table2`."""
    report = commands.add_parser("report", help="measure the paper's tables anew")
    tables = report.add_subparsers(required=True, metavar="TABLE")

    first = tables.add_parser("table1", help="seconds per image of the recognizers")
    first.add_argument(
        "--sizes", type=size, nargs="+", default=list(table1.SIZES), metavar="WxH", help="of the images"
    )
    _common(first)
    first.set_defaults(run=report_table1)

    second = tables.add_parser("table2", help="quality and speed of the colorizers")
    second.add_argument("--images", type=Path, required=True, help="colour photographs: a folder, or a text file")
    second.add_argument(
        "--runs", type=_run, nargs="+", required=True, metavar="VARIANT=RUN", help="run folders of colorizers"
    )
    second.add_argument("--bundle", type=Path, help="a bundle, judged as it ships")
    _common(second)
    second.set_defaults(run=report_table2)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for Markdown, JSON and plot")
    parser.add_argument("--rounds", type=whole(1), default=10, help="how often each network is timed")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=whole(0), default=0, help="CPU threads; 0 takes all")


def report_table1(options: argparse.Namespace) -> None:
    """Write table1.json, table1.md and table1.png."""
    device = _prepare(options)
    table = table1.measure(options.sizes, rounds=options.rounds, device=device)
    _write(options, device, "table1", {"seconds": table}, table1.rows(table))
    series = {
        f"{table1.NETWORKS[name]}, {backend.replace('_', ' ')}": [table[size][name][backend] for size in table]
        for name, backends in table[options.sizes[0]].items()
        for backend in sorted(PLOTTED & backends.keys(), reverse=True)
    }
    bars(options.out / "table1.png", list(table), series, ylabel="seconds per image", log=True)


def report_table2(options: argparse.Namespace) -> None:
    """Write table2.json, table2.md and table2.png."""
    device = _prepare(options)
    runs = dict(options.runs)
    if len(runs) < len(options.runs):
        raise InputError("--runs names a variant twice")
    if strange := set(runs) - {*COLORIZERS, *ABLATIONS}:
        raise InputError(f"no colorizer {min(strange)!r}: {', '.join(COLORIZERS)}")
    images = find_images(options.images)
    table = table2.measure(runs, options.bundle, images, rounds=options.rounds, device=device)
    _write(options, device, "table2", asdict(table), table2.rows(table))
    gains = ("psnr_db", "ciede2000")
    grey = table.scores["grey copy"]
    series = {
        name: [scores["psnr_db"] - grey["psnr_db"], grey["ciede2000"] - scores["ciede2000"]]
        for name, scores in table.scores.items()
        if name != "grey copy"
    }
    labels = [f"{table2.METRICS[key]}: gain over the grey copy" for key in gains]
    bars(options.out / "table2.png", labels, series, ylabel="higher is better")


def _prepare(options: argparse.Namespace) -> torch.device:
    if options.threads:
        torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    options.out.mkdir(parents=True, exist_ok=True)
    return device


def _run(text: str) -> tuple[str, Path]:
    """VARIANT=RUN."""
    variant, equals, folder = text.partition("=")
    if not equals or not folder:
        raise argparse.ArgumentTypeError(f"{text!r} is not VARIANT=RUN")
    return variant, Path(folder)


def _write(
    options: argparse.Namespace, device: torch.device, name: str, table: dict[str, Any], rows: Sequence[Sequence[str]]
) -> None:
    where = {"device": _name_of(device), "threads": torch.get_num_threads(), "rounds": options.rounds}
    about = circumstances(options.arguments, *PACKAGES) | where
    write_json(options.out / f"{name}.json", about | table)
    text = markdown(rows)
    write_atomic(options.out / f"{name}.md", text.encode())
    print(text, end="")


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table whose first row is its head."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {platform.machine()}"
