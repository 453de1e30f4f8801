"""How often the watch over the station is right: every picture is a station, whose nights are made up around it.

    python -m tests.benchmarks.station [FOLDER ...] [--most N] [--faults NAME ...]

A night is the picture seen for some minutes at one look a second: with sensor noise, a lamp that flickers, another
light after a while, animals that walk by; and then a fault. Prints, for each kind of night and condition, how
many stations came on, and the median time it took. With no folder, the demo clip alone.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np

from edge.conditions import Condition, Conditions
from edge.field_sections import StationConfig
from edge.media import ClipReader
from edge.tools.demo import CLIP
from edge.types import Float32Array, Frame, Instant, UInt8Array
from edge.watch.station import StationWatch

START = datetime(2024, 5, 1, 22, 0, tzinfo=timezone.utc)
WIDTH_PX = 640
WELL_S, NIGHT_S = 60, 240  # the fault begins after WELL_S
Scene = Callable[[Float32Array, int, np.random.Generator], Float32Array]


def night(scene: Float32Array, fault: Scene, seed: int) -> Iterator[UInt8Array]:
    """One look a second, uint8[H, W]."""
    random = np.random.default_rng(seed)
    light, noise = np.ones_like(scene), random.normal(0, 2.0, scene.shape).astype(np.float32)
    for second in range(NIGHT_S):
        if second and second % 80 == 0:
            light = lamp(scene.shape, random)
        seen = np.clip(scene * light * random.uniform(0.95, 1.05), 0, 255)
        if 15 < second % 60 < 35:
            seen = with_animal(seen, (second % 60 - 15) / 20)
        if second >= WELL_S:
            seen = fault(seen, second - WELL_S, random)
        rows, columns = random.integers(0, scene.shape)  # as good as new noise, and quicker
        noisy = seen + np.roll(noise, (rows, columns), (0, 1))
        yield np.clip(np.round(noisy), 0, 255).astype(np.uint8)


def lamp(shape: tuple[int, ...], random: np.random.Generator) -> Float32Array:
    """How much brighter or darker each place is under another light: a spot somewhere, and its fall-off."""
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    y, x, reach = random.uniform(0, shape[0]), random.uniform(0, shape[1]), random.uniform(0.3, 1.0) * shape[1]
    spot = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / reach**2)
    return np.asarray(random.uniform(0.4, 0.7) + random.uniform(0.4, 1.0) * spot, np.float32)


def with_animal(seen: Float32Array, way: float) -> Float32Array:
    """A fifth of the picture, cut from another place of it and mirrored, walks from left to right."""
    height, width = seen.shape
    body = cv2.flip(seen[height // 5 : height * 4 // 5, : width // 3], -1)
    left = round(way * (width - body.shape[1]))
    walked = seen.copy()
    walked[height // 4 : height // 4 + body.shape[0], left : left + body.shape[1]] = body
    return walked


def blur(sigma_px: float) -> Scene:
    """`sigma_px` is of a picture 320 px wide."""
    return lambda seen, *_: cv2.GaussianBlur(seen, (0, 0), sigma_px * WIDTH_PX / 320)


def frost(share: float) -> Scene:
    """Scattered light over a picture that shines through it, blurred."""
    return lambda seen, *_: (1 - share) * blur(3)(seen, 0, np.random.default_rng()) + share * 90


def moved(right: float = 0.0, down: float = 0.0, degrees: float = 0.0, zoom: float = 1.0) -> Scene:
    """Shifts are shares of width and height; what comes into sight is mirrored."""

    def scene(seen: Float32Array, *_: object) -> Float32Array:
        height, width = seen.shape
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, zoom)
        matrix[:, 2] += right * width, down * height
        return np.asarray(cv2.warpAffine(seen, matrix, (width, height), borderMode=cv2.BORDER_REFLECT), np.float32)

    return scene


FAULTS: dict[str, Scene] = {
    "none": lambda seen, *_: seen,
    "lamp to a quarter": lambda seen, *_: seen / 4,
    "animal stays, half the picture": lambda seen, *_: with_animal(with_animal(seen, 0.1), 0.6),
    "black": lambda seen, *_: seen * 0 + 4,
    "blur 1 px": blur(1),
    "blur 2 px": blur(2),
    "blur 3 px": blur(3),
    "frost 50 %": frost(0.5),
    "frost 70 %": frost(0.7),
    "moved 2 % right": moved(right=0.02),
    "moved 5 % right": moved(right=0.05),
    "moved 10 % right": moved(right=0.1),
    "moved 5 % down": moved(down=0.05),
    "turned 5 degrees": moved(degrees=5),
    "zoomed by a tenth": moved(zoom=1.1),
}


def watched(looks: Iterator[UInt8Array], told: list[tuple[str, int]]) -> list[float]:
    """Run the watch over them; append (condition, second) as they come on; return the milliseconds of each look."""
    second, times_ms = 0, []

    def publish(condition: Condition) -> None:
        if condition.is_on:
            told.append((condition.name, second))

    watch = StationWatch(
        StationConfig(clock_jump_s=0, disk_free_mb=0), Conditions(publish), tuple, Path(), lambda: second
    )
    for second, luma in enumerate(looks):
        watch.put(Frame(second, 0, Instant(START, second * 1_000_000_000), luma))
        began = time.perf_counter()
        watch.go()
        times_ms.append((time.perf_counter() - began) * 1e3)
    return times_ms


def stations(folders: list[Path], most: int) -> Iterator[Float32Array]:
    """Pictures 640 px wide, without the letters that many cameras write into the upper and lower edge."""
    if not folders:
        yield from (luma.astype(np.float32) for luma in list(ClipReader(CLIP))[::100])
    for folder in folders:
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
        for path in files[:: max(1, -(-len(files) // most))]:
            luma = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            height = round(luma.shape[0] * WIDTH_PX / luma.shape[1])
            large = cv2.resize(luma, (WIDTH_PX, height), interpolation=cv2.INTER_AREA)
            yield large[height * 6 // 100 : height * 90 // 100].astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--most", type=int, default=100, help="pictures of each folder, evenly chosen")
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS), metavar="FAULT")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    cv2.setNumThreads(1)
    scenes = list(stations(arguments.folders, arguments.most))
    times_ms: list[float] = []
    print(f"{len(scenes)} stations")
    for name in arguments.faults:
        fault = FAULTS[name]
        count, seconds = Counter[str](), dict[str, list[int]]()
        for seed, scene in enumerate(scenes):
            told: list[tuple[str, int]] = []
            times_ms += watched(night(scene, fault, seed), told)
            for condition, second in dict(reversed(told)).items():
                count[condition] += 1
                seconds.setdefault(condition, []).append(second - WELL_S)
        line = (f"{key} {count[key]} ({statistics.median(seconds[key]):.0f} s)" for key in sorted(count))
        print(f"{name:32s} {', '.join(line) or 'nothing told'}", flush=True)
    print(f"one look: median {statistics.median(times_ms):.2f} ms")


if __name__ == "__main__":
    main()
