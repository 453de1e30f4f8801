"""Types of command-line arguments: each takes the text and returns the value, or says what is wrong with it."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable


def whole(minimum: int, multiple_of: int = 1, *, maximum: int | None = None) -> Callable[[str], int]:
    """Whole numbers from `minimum` on, to `maximum` where there is one."""

    def parse(text: str) -> int:
        value = int(text) if text.isdecimal() and text.isascii() else -1
        if value < minimum or value % multiple_of or (maximum is not None and value > maximum):
            to = "on" if maximum is None else f"to {maximum}"
            step = f", a multiple of {multiple_of}" if multiple_of > 1 else ""
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {minimum} {to}{step}")
        return value

    return parse


def number(minimum: float, maximum: float) -> Callable[[str], float]:
    """Numbers in a range, its ends included."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not minimum <= value <= maximum:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {minimum:g} to {maximum:g}")
        return value

    return parse
