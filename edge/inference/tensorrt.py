"""TensorRT. The only file that imports it; what builds engines gets the module from here.

Only names that TensorRT 10.3 to 11 all have may be used on the module.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edge.errors import TapetumError

log = logging.getLogger(__name__)

HARMLESS = (
    "Make sure output labels has Int64 binding",
    "Converting conv activation scales to fp32",
    "Converting conv weight scales to fp32",
)
OLDEST = (10, 3)  # JetPack 6.1: the first with strongly typed networks as they are used here


class TensorRtError(TapetumError):
    """TensorRT is missing, too old, or does not work on this machine."""


def load_tensorrt() -> Any:
    """The module `tensorrt`, or `tensorrt_rtx` where only that is installed. They have the same names.

    Raises:
        TensorRtError: neither can be imported, or it is older than `OLDEST`.
    """
    trt = _import()
    if trt.__name__ == "tensorrt" and _numbers(trt.__version__) < OLDEST:  # that for RTX counts from 1.0
        raise TensorRtError(
            f"TensorRT {trt.__version__} is older than {'.'.join(map(str, OLDEST))}: "
            "install JetPack 6.1 or newer, or a newer TensorRT"
        )
    return trt


def tensorrt_version() -> str:
    """Its version, "10.3.0"; engines are bound to it.

    Raises:
        TensorRtError: see `load_tensorrt`.
    """
    return str(load_tensorrt().__version__)


@functools.cache
def tensorrt_logger() -> Any:
    """The ILogger of this process: TensorRT takes one only. It forwards to Python's logging.

    Raises:
        TensorRtError: see `load_tensorrt`.
    """
    trt = load_tensorrt()
    base: Any = trt.ILogger
    levels = {
        trt.ILogger.Severity.INTERNAL_ERROR: logging.ERROR,
        trt.ILogger.Severity.ERROR: logging.ERROR,
        trt.ILogger.Severity.WARNING: logging.WARNING,
        trt.ILogger.Severity.INFO: logging.DEBUG,  # several lines an engine, none for the user
    }  # VERBOSE is thousands of lines a build

    class ForwardingLogger(base):  # type: ignore[misc]  # its base is known at run time only
        """`collectors`, by identity, are where errors go instead of the log while somebody will explain them."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.collectors: dict[int, list[str]] = {}

        def log(self, severity: Any, message: str) -> None:
            level = logging.DEBUG if any(words in message for words in HARMLESS) else levels.get(severity)
            collectors = list(self.collectors.values())
            if level == logging.ERROR and collectors:
                for errors in collectors:
                    errors.append(message)
            elif level is not None:
                log.log(level, "%s", message)

    return ForwardingLogger()


@contextmanager
def collected_errors() -> Iterator[list[str]]:
    """Errors that TensorRT tells within the block, in its words, for a message of ours; they are not logged.

    TensorRT tells them from threads of its own too: what others do at the same time stands among them.

    Raises:
        TensorRtError: see `load_tensorrt`.
    """
    logger = tensorrt_logger()
    errors: list[str] = []
    logger.collectors[id(errors)] = errors
    try:
        yield errors
    finally:
        del logger.collectors[id(errors)]


def told(errors: list[str]) -> str:
    """The first of TensorRT's errors, without its source file."""
    first = errors[0].splitlines()[0] if errors else "it gave no reason"
    return first.partition("] ")[2] if first.startswith("[") else first


def _import() -> Any:
    try:
        try:
            import tensorrt as trt
        except ModuleNotFoundError:
            import tensorrt_rtx as trt
    except ModuleNotFoundError as error:
        raise TensorRtError(
            "TensorRT is not installed: on a Jetson, apt install python3-libnvinfer and a virtual environment "
            "made with --system-site-packages; elsewhere, pip install tensorrt"
        ) from error
    except ImportError as error:  # its Python module is there, its libraries are not
        raise TensorRtError(
            f"TensorRT cannot be loaded: {error}: install TensorRT's libraries of the module's version"
        ) from error
    return trt


def _numbers(version: str) -> tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)
