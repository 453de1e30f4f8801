"""`tapetum-build`: from a checkpoint to a measured bundle, and on the unit to engines."""

from __future__ import annotations

import argparse
import logging
import signal
import sys

from pydantic import ValidationError

from edge import __version__
from edge.errors import ConfigError, TapetumError
from trt_build.commands import export, pack, quantize

COMMANDS = (export, quantize, pack)  # in the order of the way of a model


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code (see edge.errors)."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell started us with it ignored
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except ModuleNotFoundError as error:
        print(f"tapetum-build: needs the package {error.name}: pip install 'tapetum[build]'", file=sys.stderr)
        return TapetumError.exit_code
    except TapetumError as error:
        print(f"tapetum-build: {error}", file=sys.stderr)
        return error.exit_code
    except ValidationError as error:  # of the manifest, where the command line's name and version go
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        print(f"tapetum-build: this cannot stand in a manifest: {faults}", file=sys.stderr)
        return ConfigError.exit_code
    except OSError as error:
        print(f"tapetum-build: {error.filename or options.command}: {error.strerror or error}", file=sys.stderr)
        return TapetumError.exit_code
    except KeyboardInterrupt:
        print("tapetum-build: stopped; nothing half-written is left", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tapetum-build", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for module in COMMANDS:
        module.add_commands(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
