"""Command lines that train on tiny data."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.photographs import write_coco, write_photographs

TINY = ["--batch", "2", "--workers", "0", "--threads", "1"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of 12 photographs."""
    write_photographs(tmp_path / "images", 12)
    return tmp_path / "images"


@pytest.fixture
def colorizer(images: Path, tmp_path: Path) -> list[str]:
    """Arguments that train a colorizer into the folder `run`."""
    return ["colorizer", "--images", str(images), "--out", str(tmp_path / "run"), "--crop-px", "64", *TINY]


@pytest.fixture
def recognizer(images: Path, tmp_path: Path) -> list[str]:
    """Arguments that train a recognizer into the folder `run`."""
    coco = write_coco(tmp_path / "coco.json", sorted(images.iterdir()))
    boxed = ["recognizer", "--coco", str(coco), "--images", str(images), "--input-size", "128"]
    return [*boxed, "--out", str(tmp_path / "run"), *TINY]
