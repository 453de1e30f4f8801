"""The parts that the services of these tests are made of."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.edge.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real networks that find what is bright; a test that spoils it makes its own."""
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """320x240, 25 frames a second, 4 s: a white block goes round on dark grey, and is back when the clip loops."""
    path = tmp_path_factory.mktemp("clip") / "night.mp4"
    picture = (
        "color=0x303030:s=320x240:r=25[ground];color=white:s=60x48:r=25[block];"
        "[ground][block]overlay=x='130+90*sin(PI*t/2)':y='96+60*cos(PI*t/2)'"
    )
    make = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", picture, "-t", "4", "-pix_fmt", "yuv420p"]
    subprocess.run([*make, str(path)], check=True)
    return path
