"""The clip of the tests: what the tiny bundle's recognizer sees in it is known."""

from __future__ import annotations

import subprocess
from pathlib import Path

WIDTH, HEIGHT = 320, 240
BLOCK_SIZE = (60, 48)  # width, height
GROUND, BLOCK = 48, 255  # luma


def make_clip(path: Path, seconds: float = 4) -> Path:
    """25 frames a second: a white block goes round on dark grey, once in 4 s, and is back when the clip loops."""
    ground, block = f"s={WIDTH}x{HEIGHT}:r=25", f"s={BLOCK_SIZE[0]}x{BLOCK_SIZE[1]}:r=25"
    picture = (
        f"color=0x{GROUND:02x}{GROUND:02x}{GROUND:02x}:{ground}[ground];color=white:{block}[block];"
        "[ground][block]overlay=x='130+90*sin(PI*t/2)':y='96+60*cos(PI*t/2)'"
    )
    make = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", picture, "-t", str(seconds), "-pix_fmt", "yuv420p"]
    subprocess.run([*make, str(path)], check=True)
    return path
