"""`tapetum-edge`: the field service and its tools."""

from __future__ import annotations

import time

STARTED_S = time.monotonic()  # before the heavy imports: the demo reports how long a start takes

import argparse  # noqa: E402
import logging  # noqa: E402
import math  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402

from edge import __version__  # noqa: E402
from edge.errors import TapetumError  # noqa: E402
from edge.tools.bundle_arguments import add_commands as add_bundle_commands  # noqa: E402


def run_command(options: argparse.Namespace) -> int:
    """The service."""
    from edge.config import load_config
    from edge.station.malloc import limit_arenas

    limit_arenas()
    stop = _stop_on_signals()
    os.umask(os.umask(0o077) | 0o027)  # what the service writes is none of everybody's business
    config = load_config(options.config, allow_refused=options.allow_refused)
    _log_to_stderr(config.service.log_level)
    from edge.app import App  # after the configuration: what is wrong there is told at once

    with App(config, stop=stop) as app:
        app.run(stop)
    return 0


def demo_command(options: argparse.Namespace) -> int:
    """The service on the shipped clip."""
    stop = _stop_on_signals()
    from edge.tools.demo import DemoOptions, demo

    _log_to_stderr("warning")
    bundle = str(options.bundle) if options.bundle else ""
    demo(DemoOptions(options.seconds, options.report, options.snapshot, bundle), stop, STARTED_S)
    return 0


def check_command(options: argparse.Namespace) -> int:
    """All that can be checked without starting."""
    from edge.tools.check import check
    from edge.tools.terminal import say

    for line in check(options.config, allow_refused=options.allow_refused):
        say(line)
    return 0


def process_command(options: argparse.Namespace) -> int:
    """Images and videos, offline."""
    from edge.bundles.bundle import DEMO_BUNDLE
    from edge.tools.process import process

    _log_to_stderr("warning")
    bundle = options.bundle or DEMO_BUNDLE
    return process(options.inputs, options.out, bundle, options.precision, allow_refused=options.allow_refused)


def doctor_command(options: argparse.Namespace) -> int:
    """What a technician looks at first."""
    from edge.tools.doctor.command import doctor

    return doctor(options.config, options.bundle_report)


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code (see edge.errors)."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except TapetumError as error:
        print(f"tapetum-edge: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def _stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set; a second signal ends the process at once."""
    stop = threading.Event()

    def answer_with(handler: Callable[[int, object], None] | signal.Handlers) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, handler)

    def handle(_number: int, _stack: object) -> None:
        stop.set()
        answer_with(signal.SIG_DFL)

    answer_with(handle)
    return stop


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(
        level=level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tapetum-edge", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="the service")
    run.add_argument("--config", type=Path, required=True, help="edge.toml")
    run.set_defaults(run=run_command)

    check = commands.add_parser("check", help="check a configuration and what it names, without starting")
    check.add_argument("--config", type=Path, required=True, help="edge.toml")
    check.set_defaults(run=check_command)

    demo = commands.add_parser("demo", help="the service on the shipped clip, with a broker of its own")
    demo.add_argument("--seconds", type=_seconds, help="end by itself after so long")
    demo.add_argument("--report", type=Path, help="write the figures as JSON")
    demo.add_argument("--snapshot", type=Path, help="save the last frame, grey and in colour, as a picture")
    demo.add_argument("--bundle", type=Path, help="another model bundle")
    demo.set_defaults(run=demo_command)

    process = commands.add_parser("process", help="colour and search images and videos, offline")
    process.add_argument("inputs", type=Path, nargs="+", metavar="INPUT", help="images, folders, videos")
    process.add_argument("--out", type=Path, required=True, help="folder for the results")
    process.add_argument("--bundle", type=Path, help="another model bundle")
    process.add_argument("--precision", choices=["auto", "fp32", "fp16", "int8"], default="auto")
    process.set_defaults(run=process_command)

    doctor = commands.add_parser("doctor", help="check the machine and all that the configuration names")
    doctor.add_argument("--config", type=Path, help="edge.toml; without, that of the installed service")
    doctor.add_argument(
        "--bundle-report", type=Path, metavar="FILE.tar.gz", help="pack logs, settings without secrets, and health"
    )
    doctor.set_defaults(run=doctor_command)

    add_bundle_commands(commands)
    for command in (run, check, process):
        command.add_argument(
            "--allow-refused", action="store_true", help="also a precision that lost too much when it was evaluated"
        )
    return parser


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


if __name__ == "__main__":
    sys.exit(main())
