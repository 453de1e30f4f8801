"""The shipped clip is what the demo promises: grey night video that moves and that anything can play."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import edge

CLIP = Path(edge.__file__).parent / "models" / "demo" / "night.mp4"
WIDTH, HEIGHT = 640, 480


@pytest.fixture(scope="module")
def probed() -> dict[str, Any]:
    command = ["ffprobe", "-v", "error", "-show_streams", "-show_format", "-of", "json", str(CLIP)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


@pytest.fixture(scope="module")
def planes() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Luma uint8[N, 480, 640] and both chroma planes uint8[N, 2, 240, 320] of one frame a second."""
    command = ["ffmpeg", "-v", "error", "-i", str(CLIP), "-vf", "fps=1", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-"]
    raw = np.frombuffer(subprocess.run(command, check=True, capture_output=True).stdout, np.uint8)
    frames = raw.reshape(-1, WIDTH * HEIGHT * 3 // 2)
    chroma = frames[:, WIDTH * HEIGHT :].reshape(-1, 2, HEIGHT // 2, WIDTH // 2)
    return frames[:, : WIDTH * HEIGHT].reshape(-1, HEIGHT, WIDTH), chroma


def test_is_one_h264_stream_without_sound(probed: dict[str, Any]) -> None:
    (stream,) = probed["streams"]
    assert (stream["codec_name"], stream["pix_fmt"]) == ("h264", "yuv420p")
    assert (stream["width"], stream["height"], stream["avg_frame_rate"]) == (WIDTH, HEIGHT, "25/1")


def test_is_long_enough_and_small_enough(probed: dict[str, Any]) -> None:
    assert 24 <= float(probed["format"]["duration"]) <= 32
    assert CLIP.stat().st_size < 8_000_000


def test_index_precedes_the_pictures() -> None:
    head = CLIP.read_bytes()
    assert 0 < head.find(b"moov") < head.find(b"mdat")


def test_is_grey(planes: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]) -> None:
    _, chroma = planes
    assert np.abs(chroma.astype(int) - 128).max() <= 1


def test_is_a_lit_night(planes: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]) -> None:
    luma, _ = planes
    assert 40 < np.median(luma, axis=0).mean() < 110  # what stays: the background
    assert np.percentile(luma, 98) > 130  # who comes by, in the flash


def test_something_large_moves_all_the_time(planes: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]) -> None:
    luma, _ = planes
    changed = np.abs(np.diff(luma.astype(int), axis=0)) > 40  # well above the noise
    assert (changed.mean(axis=(1, 2)) > 0.001).all()


def test_the_camera_stands_still(planes: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]) -> None:
    luma, _ = planes
    treetops = luma[:, :150].astype(float)
    assert np.abs(treetops - treetops.mean(axis=0)).mean() < 6


def test_runs_round(planes: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]) -> None:
    luma, _ = planes
    away = np.abs(luma[-1].astype(int) - luma[0])
    assert (away > 40).mean() < 0.15  # a second apart, nobody jumps in or out
