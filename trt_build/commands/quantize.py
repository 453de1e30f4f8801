"""`tapetum-build quantize`: exported graphs to FP16 or INT8, with a calibration set's frames."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edge.atomic import write_atomic
from edge.bundles.manifest import MODEL_NAMES, ModelName
from edge.errors import ConfigError
from trt_build.graphs import calibration_path, graph_path

if TYPE_CHECKING:
    from training.quantization.ranges import Method
    from trt_build.precision.sensitivity import Sensitivity
    from trt_build.precision.write import Rest, Written

WORDS = {"auto", "none"}  # that --keep takes instead of names
METHODS = ("minmax", "entropy", "percentile")
SHOWN = 12  # layers of a table


def quantize_command(options: argparse.Namespace) -> None:
    """Quantize the networks of a folder of graphs: all three, or those that were exported into it."""
    from trt_build.calibration.set import read_set
    from trt_build.precision.write import write_fp16, write_int8

    keep = _keep(options)
    given = read_set(options.calibration)
    method: Method = options.method or "minmax"
    exported = [name for name in MODEL_NAMES if graph_path(options.graphs, name, "fp32").exists()]
    for name in exported or MODEL_NAMES:
        if options.precision == "fp16":
            _tell(name, write_fp16(options.graphs, name, given.frames, keep=keep or ()))
            continue
        rest: Rest = options.rest or "fp16"
        _tell(name, write_int8(options.graphs, name, given.frames, method=method, keep=keep, rest=rest))
    if options.precision == "int8":
        calibration = given.calibration.model_copy(update={"method": method})
        write_atomic(calibration_path(options.graphs), calibration.model_dump_json().encode() + b"\n")


def _keep(options: argparse.Namespace) -> tuple[str, ...] | Literal["auto"] | None:
    """Parts of names, "auto", or None for the default; what does not go together is refused."""
    words = options.keep or []
    if (len(words) > 1 and WORDS.intersection(words)) or "" in words:
        raise ConfigError("--keep takes auto alone, none alone, or parts of the layers' names")
    if options.precision == "fp16" and (options.method or options.rest or words == ["auto"]):
        raise ConfigError("--method, --rest and --keep auto belong to --precision int8: leave them out")
    if words == ["none"]:
        return ()
    return "auto" if words == ["auto"] else tuple(words) or None


def _tell(name: ModelName, written: Written) -> None:
    from trt_build.precision.damage import UNITS

    if written.sensitivity is not None:
        _tell_sensitivity(name, written.sensitivity)
    size = written.path.stat().st_size / 1e6
    print(
        f"wrote {written.path}: {size:.1f} MB, {len(written.float_layers)} of {written.layers} layers in a wider "
        f"type, {written.damage:.3f} from FP32 ({UNITS[name]}, {written.frames} frames)"
    )


def _tell_sensitivity(name: ModelName, measured: Sensitivity) -> None:
    print(f"{name}: damage of each layer alone in INT8, and of the network with it and those above left in float")
    print(f"  {'':44} alone  network\n  {'(all in INT8)':44} {'':5}  {measured.whole[0]:7.3f}")
    whole = dict(zip(measured.alone, measured.whole[1:]))  # noqa: B905  # those that stay in INT8 have none
    for layer, damage in list(measured.alone.items())[: max(SHOWN, len(measured.kept))]:
        network = f"{whole[layer]:7.3f} left in float" if layer in whole else ""
        print(f"  {layer.name[-44:]:44} {damage:5.3f}  {network}")


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `quantize`."""
    parser = commands.add_parser("quantize", help="FP32 graphs to FP16 or INT8")
    parser.add_argument("graphs", type=Path, help="folder of exported graphs")
    parser.add_argument("--precision", choices=["fp16", "int8"], required=True)
    parser.add_argument("--calibration", type=Path, required=True, help="set of tapetum-build calibrate")
    parser.add_argument(
        "--method", choices=METHODS, help="INT8's ranges: the largest values (minmax, the default), or fewer of them"
    )
    parser.add_argument(
        "--keep",
        nargs="+",
        metavar="NAME",
        help="layers to leave in a wider type, by parts of their names; none; auto: those that measuring finds",
    )
    parser.add_argument(
        "--rest", choices=["fp16", "fp32"], help="what INT8's float part computes in; fp16 by default"
    )
    parser.set_defaults(run=quantize_command)
