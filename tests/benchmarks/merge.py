"""The merge kernel on the CPU against OpenCV's best 8-bit route, taking turns in one process.

    python -m tests.benchmarks.merge [--threads N] [--rounds N]

OpenCV's route: ab to 8 bits, resize (nearest), insert L, cvtColor Lab to BGR, cvtColor BGR to I420; into buffers that
are reused. Prints one JSON object: size -> medians in ms, their ratio, and each one's mean error in levels of Y', Cb
and Cr against the float64 oracle.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import cv2
import numpy as np

from edge.bundles.bundle import DEMO_BUNDLE
from edge.kernels.native import NativeMerge
from edge.media import ClipReader
from edge.types import Float32Array, UInt8Array
from tests.kernels import oracle
from tests.kernels.build import native_library

SIZES = ((640, 480), (1280, 720), (1280, 1024), (1920, 1080))
WARM_UP = 5


class OpenCvMerge:
    """The fastest way from luma and ab to YUV 4:2:0 in OpenCV's 8-bit functions."""

    def __init__(self, width: int, height: int) -> None:
        self._cells = np.zeros((128, 128, 3), np.uint8)
        self._lab = np.empty((height, width, 3), np.uint8)
        self._bgr = np.empty_like(self._lab)
        self._lightness = np.empty((height, width), np.uint8)
        self._i420 = np.empty((height * 3 // 2, width), np.uint8)
        self._table = np.rint(oracle.lightness(np.arange(256)) * 2.55).astype(np.uint8)

    def __call__(self, luma: UInt8Array, ab: Float32Array) -> UInt8Array:
        height, width = luma.shape
        np.add(ab.transpose(1, 2, 0), 128.5, out=self._cells[..., 1:], casting="unsafe")
        cv2.resize(self._cells, (width, height), dst=self._lab, interpolation=cv2.INTER_NEAREST)
        cv2.LUT(luma, self._table, dst=self._lightness)
        cv2.insertChannel(self._lightness, self._lab, 0)
        cv2.cvtColor(self._lab, cv2.COLOR_LAB2BGR, dst=self._bgr)
        cv2.cvtColor(self._bgr, cv2.COLOR_BGR2YUV_I420, dst=self._i420)
        return self._i420


def as_nv12(i420: UInt8Array) -> UInt8Array:
    """I420 to NV12."""
    height = i420.shape[0] * 2 // 3
    chroma = i420[height:].reshape(2, -1)
    return np.concatenate([i420[:height], chroma.T.reshape(height // 2, -1)])


def milliseconds(work: Callable[[], object]) -> float:
    """The time of one call."""
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1e3


def frame(width: int, height: int) -> tuple[UInt8Array, Float32Array]:
    """A picture of the demo clip, and chroma as smooth as a colorizer's."""
    luma = cv2.resize(next(iter(ClipReader(DEMO_BUNDLE / "night.mp4"))), (width, height))
    noise = np.random.default_rng(0).normal(size=(128, 128, 2)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 8)
    return np.asarray(luma, np.uint8), np.ascontiguousarray((smooth * (25 / smooth.std())).transpose(2, 0, 1))


def measure(width: int, height: int, threads: int, rounds: int) -> dict[str, float]:
    """Both ways in turns."""
    luma, ab = frame(width, height)
    ours, theirs = NativeMerge(native_library(), threads=threads), OpenCvMerge(width, height)
    times = [
        (milliseconds(lambda: ours.nv12(luma, ab)), milliseconds(lambda: theirs(luma, ab))) for _ in range(rounds)
    ]
    ours_ms, opencv_ms = np.median(times[WARM_UP:], axis=0)
    expected = oracle.nv12(oracle.picture(luma, ab))
    return {
        "ours_ms": round(float(ours_ms), 3),
        "opencv_ms": round(float(opencv_ms), 3),
        "ratio": round(float(opencv_ms / ours_ms), 2),
        "ours_error": round(float(np.abs(ours.nv12(luma, ab) - expected).mean()), 3),
        "opencv_error": round(float(np.abs(as_nv12(theirs(luma, ab)) - expected).mean()), 3),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="of either way")
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    cv2.setNumThreads(options.threads)
    sizes = {f"{w}x{h}": measure(w, h, options.threads, options.rounds) for w, h in SIZES}
    print(json.dumps(sizes, indent=1))


if __name__ == "__main__":
    main()
