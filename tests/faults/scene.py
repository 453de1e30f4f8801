"""What a station's camera sees, and the bundle that sees it with."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from edge.bundles.bundle import DEMO_BUNDLE
from tests.clip import make_clip
from tests.edge.tiny_bundle import make_tiny_bundle

SIZES = {"big": (640, 480), "small": (320, 240)}


@dataclass(frozen=True)
class Scene:
    """`films` holds big.h264 and small.h264 for camera_process.py."""

    films: Path
    bundle: Path


def shipped(folder: Path) -> Scene:
    """The clip and the networks that ship with Tapetum."""
    return Scene(_films(DEMO_BUNDLE / "night.mp4", folder), DEMO_BUNDLE)


def drawn(folder: Path) -> Scene:
    """A white block on grey, and networks that find what is bright and take next to no time."""
    folder.mkdir(parents=True, exist_ok=True)
    return Scene(_films(make_clip(folder / "block.mp4"), folder), make_tiny_bundle(folder / "bundle"))


def _films(clip: Path, folder: Path) -> Path:
    """The clip as a camera would encode it: no picture waits for a later one, a key frame each second."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (width, height) in SIZES.items():
        picture = ["-an", "-vf", f"scale={width}:{height}"]
        camera = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "25", "-threads", "1"]
        read = ["ffmpeg", "-v", "error", "-y", "-i", str(clip)]
        subprocess.run([*read, *picture, *camera, str(folder / f"{name}.h264")], check=True)
    return folder


SCENES = {"shipped": shipped, "drawn": drawn}
