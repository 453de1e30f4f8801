"""Types of command-line arguments: each takes the text and returns the value, or says what is wrong with it."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable


def whole(minimum: int, multiple_of: int = 1) -> Callable[[str], int]:
    """Whole numbers from `minimum` on."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < minimum or int(text) % multiple_of:
            step = f", a multiple of {multiple_of}" if multiple_of > 1 else ""
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {minimum} on{step}")
        return int(text)

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


def repeat(text: str) -> tuple[str, float]:
    """LABEL=TIMES, from 0.1 to 100 times."""
    label, _, times = text.rpartition("=")
    if not label:
        raise argparse.ArgumentTypeError(f"{text!r} is not LABEL=TIMES, such as dog=3")
    return label, number(0.1, 100)(times)


def size(text: str) -> str:
    """WIDTHxHEIGHT in pixels, each from 64 on."""
    width, by, height = text.partition("x")
    if not by or not all(side.isdecimal() and int(side) >= 64 for side in (width, height)):
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT of at least 64x64, such as 320x240")
    return text
