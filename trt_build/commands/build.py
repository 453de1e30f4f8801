"""`tapetum-build build`: engines of a bundle's networks, for this machine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from edge.arguments import whole
from edge.bundles.manifest import MODEL_NAMES, PRECISIONS
from edge.engines.store import Flags
from edge.errors import ConfigError
from trt_build.engines.reports import STYLES, Tell, telling

if TYPE_CHECKING:
    from edge.engines.store import Target
    from trt_build.engines.ensure import Convert, Workshop

DRY_RUN = (
    "dry run: not checked: whether TensorRT loads the engines, how fast they are, and whether they agree with ONNX "
    "Runtime. tapetum-edge never loads them"
)


def build_command(options: argparse.Namespace) -> None:
    """Build, whether or not there are engines already."""
    convert = _from_checkpoint(options)
    with telling(options.progress) as tell:
        shop = workshop(options, tell, convert)
        shop.build([options.model] if options.model else MODEL_NAMES)
    tell_limits(options)


def workshop(options: argparse.Namespace, tell: Tell, convert: Convert | None = None) -> Workshop:
    """What builds as the arguments of `add_engine_arguments` say.

    Raises:
        TapetumError: no such bundle, no GPU, no TensorRT.
    """
    from edge.bundles.bundle import load_bundle
    from trt_build.engines.check import comparing, opening_for
    from trt_build.engines.ensure import Workshop, from_onnx

    bundle = load_bundle(
        options.bundle, options.precision, public_key=options.public_key, allow_refused=options.allow_refused
    )
    target = _target(options)
    return Workshop(
        bundle=bundle,
        folder=options.engines or options.bundle / "engines",
        target=target,
        flags=_flags(options),
        tell=tell,
        any_flags=options.workspace_mib is None and options.level is None,
        check=None if target.is_dry_run else comparing(bundle, opening_for(target)),
        convert=convert or from_onnx,
    )


def _target(options: argparse.Namespace) -> Target:
    from edge.inference.cuda import NoGpuError
    from trt_build.engines.target import dry_run_target, target_here

    if options.dry_run:
        return dry_run_target()
    try:
        return target_here()
    except NoGpuError as error:
        raise NoGpuError(f"{error}; to try a build without a GPU, give --dry-run") from error


def _flags(options: argparse.Namespace) -> Flags:
    """What was asked for, and else the defaults."""
    asked = {name: value for name, value in vars(options).items() if name in Flags.model_fields and value is not None}
    return Flags.model_validate(asked)


def tell_limits(options: argparse.Namespace) -> None:
    """What a dry run leaves open."""
    if options.dry_run and options.progress == "bar":
        print(DRY_RUN)


def _from_checkpoint(options: argparse.Namespace) -> Convert | None:
    """The way through torch2trt, where it is asked for.

    Raises:
        ConfigError: it lacks the checkpoint of one network.
    """
    if (options.converter == "torch2trt") != (options.checkpoint is not None):
        raise ConfigError("--converter torch2trt and --checkpoint RUN belong together: give both, or neither")
    if options.checkpoint is None:
        return None
    if options.model is None:
        raise ConfigError("a checkpoint is of one network: say which with --model")
    from trt_build.engines.ensure import from_checkpoint
    from trt_build.torch2trt import refuse

    refuse(options.model, "fp32" if options.precision == "auto" else options.precision)
    return from_checkpoint(options.checkpoint)


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """What `build` and `ensure` have in common."""
    parser.add_argument("bundle", type=Path, help="folder of the bundle")
    parser.add_argument("--engines", type=Path, metavar="DIR", help="folder for the engines; BUNDLE/engines")
    parser.add_argument(
        "--precision", choices=["auto", *PRECISIONS], default="auto", help="auto: the bundle's choice"
    )
    parser.add_argument(
        "--workspace-mib", type=whole(1, maximum=1 << 20), metavar="N", help="scratch memory of a layer; 1024"
    )
    parser.add_argument("--level", type=whole(0, maximum=5), help="0 builds fastest, 5 searches longest; 3")
    parser.add_argument("--dry-run", action="store_true", help="build without a GPU, to see that it can be done")
    parser.add_argument("--progress", choices=STYLES, default="bar", help="bar on a terminal, json: a line each step")
    parser.add_argument("--public-key", type=Path, metavar="PEM", help="refuse a bundle that this key did not sign")
    parser.add_argument("--allow-refused", action="store_true", help="also a precision that lost too much")


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `build`."""
    parser = commands.add_parser("build", help="engines for this machine")
    add_engine_arguments(parser)
    parser.add_argument("--model", choices=MODEL_NAMES, help="one network alone")
    parser.add_argument("--converter", choices=["onnx", "torch2trt"], default="onnx")
    parser.add_argument("--checkpoint", type=Path, metavar="RUN", help="torch2trt: run folder of tapetum-train")
    parser.set_defaults(run=build_command)
