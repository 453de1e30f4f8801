"""`tapetum-train`: train networks, choose what to train on, measure what came out."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import signal
import sys

from edge import __version__
from edge.errors import TapetumError

# Each module's `add_commands` adds its own. Only the one that is asked for is imported: not all need PyTorch.
COMMANDS = {
    "recognizer": "training.train",
    "colorizer": "training.train",
    "evaluate": "training.evaluate",
    "select": "training.select",
    "sheet": "training.data.sheet",
    "report": "training.report",
    "all": "training.campaign",
}


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code (see edge.errors)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    for package in ("training", "edge"):  # others tell their steps on the same level
        logging.getLogger(package).setLevel(logging.INFO)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell started us with it ignored
    options = argparse.Namespace(arguments=arguments)
    try:
        _parser(arguments).parse_args(arguments, options)
        options.run(options)
    except ModuleNotFoundError as error:
        print(f"tapetum-train: needs the package {error.name}: pip install 'tapetum[training]'", file=sys.stderr)
        return TapetumError.exit_code
    except TapetumError as error:
        if str(error):  # another process of the same training has said it
            print(f"tapetum-train: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:  # the output folder: what is read has errors of its own
        print(
            f"tapetum-train: {error.filename or getattr(options, 'out', '')}: {error.strerror or error}",
            file=sys.stderr,
        )
        return TapetumError.exit_code
    except KeyboardInterrupt:
        print("tapetum-train: stopped" + "; continue with --resume" * ("resume" in options), file=sys.stderr)
        return 130
    return 0


def _parser(arguments: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tapetum-train", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    asked = [COMMANDS[arguments[0]]] if arguments and arguments[0] in COMMANDS else COMMANDS.values()
    for module in dict.fromkeys(asked):
        importlib.import_module(module).add_commands(commands)
    return parser


if __name__ == "__main__":
    code = main()
    if "TORCHELASTIC_RUN_ID" in os.environ:
        # Under torchrun: gloo's threads now and then abort a process that ends in the usual way, after all is done.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
