"""What `tapetum-edge bundle` takes. What it does stands in edge/tools/bundle.py, which the service never imports."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge.arguments import whole


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `bundle` and its own commands."""
    bundle = commands.add_parser("bundle", help="install model bundles, choose between them, go back")
    steps = bundle.add_subparsers(required=True, metavar="STEP")

    install = steps.add_parser("install", help="put a bundle into the store; the service tries it, then takes it")
    install.add_argument("source", metavar="FILE|FOLDER|URL", help="tar.gz, folder, or http(s) on the local net")
    install.add_argument("--allow-older", action="store_true", help="also one older than what was installed before")
    install.add_argument("--allow-unsigned", action="store_true", help="where no public key is configured")
    install.set_defaults(run=_install)

    listing = steps.add_parser("list", help="what is installed, and what happened to it")
    listing.add_argument(
        "--history", type=whole(0), default=10, metavar="N", help="so many of the last happenings (10)"
    )
    listing.set_defaults(run=_list)

    activate = steps.add_parser("activate", help="have the service try an installed bundle, then take it")
    activate.add_argument("name", metavar="NAME", help="as in the list, or its beginning")
    activate.add_argument("--untried", action="store_true", help="take it without trial and probation")
    activate.set_defaults(run=_activate)

    rollback = steps.add_parser("rollback", help="go back to the bundle before the active one, at once")
    rollback.set_defaults(run=_rollback)

    for step in (install, listing, activate, rollback):
        step.add_argument("--config", type=Path, required=True, help="edge.toml")


def _install(options: argparse.Namespace) -> int:
    from edge.tools import bundle

    return bundle.install_command(options)


def _list(options: argparse.Namespace) -> int:
    from edge.tools import bundle

    return bundle.list_command(options)


def _activate(options: argparse.Namespace) -> int:
    from edge.tools import bundle

    return bundle.activate_command(options)


def _rollback(options: argparse.Namespace) -> int:
    from edge.tools import bundle

    return bundle.rollback_command(options)
