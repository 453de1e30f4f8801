"""Types of command-line arguments that training alone has; the others stand in `edge.arguments`."""

from __future__ import annotations

import argparse

from edge.arguments import number


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
