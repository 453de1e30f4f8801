"""`tapetum-build inspect`: what a network is made of, and the least time it can take on a board."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from edge.arguments import whole
from edge.atomic import write_atomic
from edge.bundles.bundle import Bundle, PrecisionChoice, check_graph, read_manifest
from edge.bundles.manifest import MODEL_NAMES
from edge.errors import ConfigError, TapetumError

if TYPE_CHECKING:
    from trt_build.inspection.report import Inspected

ENGINE_SUFFIX = ".engine"
_WIDTH_IN_A_PIPE = 160


def inspect_command(options: argparse.Namespace) -> None:
    """Print what a bundle's networks, an ONNX file or an engine are made of."""
    if not options.what.is_dir() and (options.model or options.precision != "auto"):
        raise ConfigError(f"{options.what}: --model and --precision choose from a bundle: give its folder")
    tell = _tell_engine if options.what.suffix == ENGINE_SUFFIX else _tell_graphs
    found = tell(options)
    if options.json:
        _write(options.json, found)


def _write(path: Path, found: object) -> None:
    try:
        write_atomic(path, json.dumps(found, indent=1).encode() + b"\n")
    except (OSError, ValueError) as error:  # ValueError: a path without a name, such as .
        reason = error.strerror if isinstance(error, OSError) else error
        raise TapetumError(
            f"{path}: cannot write: {reason}: give a file in a folder that can be written to"
        ) from error


def _tell_engine(options: argparse.Namespace) -> object:
    from trt_build.inspection.engine import document, inspect_engine, summary

    engine = inspect_engine(options.what)
    print(*summary(engine), sep="\n")
    return document(engine)


def _tell_graphs(options: argparse.Namespace) -> object:
    from trt_build.inspection.report import SMALLEST, document, summary, table

    networks = [_inspected(title, path) for title, path in _graphs(options)]
    width = shutil.get_terminal_size((_WIDTH_IN_A_PIPE, 0)).columns
    for network in networks:
        print(*summary(network), sep="\n")
        costliest = network.costliest(options.top)
        if costliest:
            print(f"  the {len(costliest)} layers of the largest bounds on the {SMALLEST.name}:")
            print(*table(costliest, width), "", sep="\n")
    return [document(network) for network in networks]


def _graphs(options: argparse.Namespace) -> Iterator[tuple[str, Path]]:
    """Titles and ONNX files of what was asked for; also of a precision that the bundle's gate refused."""
    folder = options.what
    if not folder.is_dir():
        yield folder.name, folder
        return
    bundle = Bundle(folder, read_manifest(folder), options.precision, allow_refused=True)
    for model in [options.model] if options.model else MODEL_NAMES:
        graph = bundle.graph(model)
        check_graph(folder, graph)
        yield f"{model} {bundle.precision_of(model)}", folder / graph.file


def _inspected(title: str, path: Path) -> Inspected:
    from trt_build.inspection.graph import load_graph
    from trt_build.inspection.layers import layers_of
    from trt_build.inspection.report import Inspected

    graph = load_graph(path)
    return Inspected(title, len(graph.nodes), layers_of(graph))


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `inspect`."""
    parser = commands.add_parser("inspect", help="layers of a network, and a bound for its time on a board")
    parser.add_argument("what", type=Path, metavar="BUNDLE|ENGINE|ONNX", help="folder of a bundle, or a file")
    parser.add_argument("--model", choices=MODEL_NAMES, help="of a bundle: this network alone")
    parser.add_argument("--precision", choices=get_args(PrecisionChoice), default="auto", help="of a bundle")
    parser.add_argument("--top", type=whole(0), default=10, help="how many layers to list, the costliest")
    parser.add_argument("--json", type=Path, help="file for everything, all layers included")
    parser.set_defaults(run=inspect_command)
