"""Where the time of a frame goes: each stage of both lanes on the demo clip, one after the other in one thread.

    python -m tests.benchmarks.frame [--bundle DIR] [--size WIDTHxHEIGHT] [--frames N]

Prints one JSON object: stage -> median ms; and the share of all that is neither a network nor the merge kernel.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.bundles.bundle import DEMO_BUNDLE, load_bundle
from edge.events import EventLog
from edge.kernels.lab_merge import cpu_kernel
from edge.media import ClipReader
from edge.sections import ColourConfig, DetectConfig
from edge.tracking import Tracker
from edge.types import Frame, Instant, UInt8Array
from edge.video.nv12 import from_luma
from edge.video.overlay import draw_tracks
from edge.vision.networks import Networks
from edge.vision.scene import ChromaSmoother, SceneWatch

COST = ("colorizer", "merge", "recognizer")  # networks and kernel: what a frame has to cost


class Stopwatch:
    """Collects the times of named stages."""

    def __init__(self) -> None:
        self.times_ms: dict[str, list[float]] = {}

    def __call__(self, stage: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = work()
        self.times_ms.setdefault(stage, []).append((time.perf_counter() - started) * 1e3)
        return result


def measure(networks: Networks, pictures: list[UInt8Array]) -> dict[str, float]:
    """Median milliseconds of each stage over the pictures."""
    timed, colour, detect = Stopwatch(), ColourConfig(), DetectConfig()
    kernel, watch, smooth = cpu_kernel(), SceneWatch(colour), ChromaSmoother(colour.smoothing)
    tracker, log = Tracker(detect, networks.labels), EventLog(detect)
    context = networks.context(pictures[0])
    for number, luma in enumerate(pictures):
        frame = Frame(number, 0, Instant.now(), luma)
        ab = timed("colorizer", lambda luma=luma: networks.colour(luma, context))
        ab = timed("smoothing", lambda luma=luma, ab=ab: smooth(luma, ab))
        timed("scene watch", lambda frame=frame: watch.is_another(smooth.cells, frame.captured_at))
        nv12 = timed("merge", lambda luma=luma, ab=ab: kernel.nv12(luma, ab))
        found = timed("recognizer", lambda luma=luma: networks.detect(luma))
        tracks = timed("tracking", lambda frame=frame, found=found: tracker.update(found, frame.captured_at))
        timed("events", lambda frame=frame, tracks=tracks: log.update(tracks, frame))
        size = (frame.width, frame.height)
        timed("overlay", lambda nv12=nv12, tracks=tracks, size=size: draw_tracks(nv12, tracks, size))
        timed("nir picture", lambda luma=luma: from_luma(luma))
    return {stage: round(float(np.median(values)), 2) for stage, values in timed.times_ms.items()}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=DEMO_BUNDLE)
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1, help="of each network")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    reader = ClipReader(DEMO_BUNDLE / "night.mp4")
    pictures = [cv2.resize(p, (width, height)) for p, _ in zip(reader, range(options.frames), strict=False)]
    with Networks(load_bundle(options.bundle), threads=options.threads) as networks:
        measure(networks, pictures[:1])  # the first run allocates
        stages = measure(networks, [np.asarray(p, np.uint8) for p in pictures])
    cost = sum(stages[name] for name in COST)
    rest = sum(value for name, value in stages.items() if name not in COST)
    print(
        json.dumps(
            {
                "size": options.size,
                "threads": options.threads,
                "median_ms": stages,
                "rest_ms": round(rest, 2),
                "rest_share": round(rest / cost, 3),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
