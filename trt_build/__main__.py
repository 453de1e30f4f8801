"""`tapetum-build`: from a checkpoint to a measured bundle, and on the unit to engines."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import signal
import sys
from io import TextIOWrapper
from pathlib import Path

from pydantic import ValidationError

from edge import __version__
from edge.bundles.manifest import explain
from edge.errors import ConfigError, TapetumError
from edge.media import quieten_opencv

# In the order of the way of a model. They are imported late: a unit without the packages they need is told so.
COMMANDS = (
    "export",
    "calibrate",
    "quantize",
    "pack",
    "evaluate",
    "keygen",
    "sign",
    "build",
    "ensure",
    "verify",
    "inspect",
)
UNREAD = 128 + signal.SIGPIPE  # what a shell sees of a program that nobody reads


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code (see edge.errors)."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    for stop in (signal.SIGINT, signal.SIGTERM):  # SIGINT also where a shell started us with it ignored
        signal.signal(stop, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name may be no text in any encoding
    quieten_opencv()
    options = argparse.Namespace(command="tapetum-build")
    try:
        _parser().parse_args(arguments, options)
        options.run(options)
        print(end="", flush=True)  # what cannot be written is told here, not at the interpreter's end
    except ModuleNotFoundError as error:
        cure = "pip install 'tapetum[build]', on a unit 'tapetum[jetson]'"
        print(f"tapetum-build: needs the package {error.name}: {cure}", file=sys.stderr)
        return TapetumError.exit_code
    except TapetumError as error:
        print(f"tapetum-build: {error}", file=sys.stderr)
        return error.exit_code
    except ValidationError as error:  # of the manifest, where the command line's name and version go
        print(f"tapetum-build: this cannot stand in a manifest: {explain(error)}", file=sys.stderr)
        return ConfigError.exit_code
    except BrokenPipeError:  # as behind `| head`: those who read no more need no error
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        return UNREAD
    except MemoryError:
        print(f"tapetum-build: {options.command}: not enough memory: close other programs", file=sys.stderr)
        return TapetumError.exit_code
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
    for name in COMMANDS:
        importlib.import_module(f"trt_build.commands.{name}").add_commands(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
