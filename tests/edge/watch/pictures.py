"""Frames of made-up stations: a place with things in it, sensor noise, and a clock of one look a second."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import cv2
import numpy as np

from edge.conditions import Condition, Conditions
from edge.field_sections import StationConfig
from edge.types import Float32Array, Frame, Instant, Track, UInt8Array
from edge.watch.station import StationWatch

START = datetime(2024, 5, 1, 22, 0, tzinfo=timezone.utc)
WIDTH, HEIGHT = 640, 480
GRAIN = np.random.default_rng(7).normal(0, 1, (HEIGHT, WIDTH)).astype(np.float32)


def at(seconds: float) -> Instant:
    return Instant(START + timedelta(seconds=seconds), round(seconds * 1e9))


def place(seed: int = 0) -> Float32Array:
    """Ground with stones and stalks of all sizes, brighter in the middle: float32[480, 640]."""
    random = np.random.default_rng(seed)
    picture = np.full((HEIGHT, WIDTH), 60, np.uint8)
    for _ in range(500):
        centre = [int(value) for value in (random.integers(WIDTH), random.integers(HEIGHT))]
        if random.random() < 0.5:
            cv2.circle(picture, centre, int(random.integers(2, 14)), int(random.integers(20, 200)), cv2.FILLED)
        else:
            end = [centre[0] + int(random.integers(-15, 15)), centre[1] - int(random.integers(5, 60))]
            cv2.line(picture, centre, end, int(random.integers(20, 200)), int(random.integers(1, 4)), cv2.LINE_AA)
    return picture.astype(np.float32)


def seen(scene: Float32Array, second: int, noise: float = 2.0) -> UInt8Array:
    """The scene through a sensor: uint8[H, W]. The grain is rolled on, which is quicker than new grain."""
    height, width = scene.shape
    grain = np.roll(GRAIN[:height, :width], (37 * second, 91 * second), (0, 1))
    return np.clip(np.round(scene + noise * grain), 0, 255).astype(np.uint8)


def with_walker(scene: Float32Array, second: int) -> Float32Array:
    """Something large and bright goes through the picture, again and again."""
    walked = scene.copy()
    left = (second * 25) % WIDTH
    walked[150:400, left : left + 150] = 180
    return walked


class Station:
    """A watch over made-up frames, one a second; `told` is what it reports."""

    def __init__(self, tracks_now: Callable[[], Iterable[Track]] = tuple, **keys: float) -> None:
        self.told: list[Condition] = []
        self.second = 0
        self.conditions = Conditions(self.told.append)
        config = StationConfig(**{"clock_jump_s": 0.0, "disk_free_mb": 0, **keys})
        self.watch = StationWatch(
            config, self.conditions, lambda: list(tracks_now()), Path("/"), lambda: float(self.second)
        )

    def run(self, seconds: int, frame: Callable[[int], UInt8Array], chroma_spread: float | None = None) -> set[str]:
        """Look at `frame(second)` for so long; return what is on then."""
        for _ in range(seconds):
            self.watch.put(Frame(self.second, 0, at(self.second), frame(self.second), chroma_spread))
            self.idle(1)
        return {condition.name for condition in self.conditions.on}

    def idle(self, seconds: int) -> None:
        """No frame comes."""
        for _ in range(seconds):
            self.watch.go()
            self.second += 1

    @property
    def changes(self) -> list[tuple[str, str]]:
        return [(condition.name, "on" if condition.is_on else "off") for condition in self.told]
