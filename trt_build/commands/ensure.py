"""`tapetum-build ensure`: build only those engines that are missing or stale. The service runs it at its start."""

from __future__ import annotations

import argparse

from trt_build.commands.build import add_engine_arguments, tell_limits, workshop
from trt_build.engines.reports import telling


def ensure_command(options: argparse.Namespace) -> None:
    """Renew what does not fit."""
    with telling(options.progress) as tell:
        built = workshop(options, tell).ensure()
    if built:
        tell_limits(options)


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `ensure`."""
    parser = commands.add_parser("ensure", help="build only engines that are missing or stale")
    add_engine_arguments(parser)
    parser.set_defaults(run=ensure_command)
