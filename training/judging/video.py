"""Judges how much a coloured video flickers, raw and as the service shows it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from edge.errors import InputError
from edge.media import ClipReader
from edge.types import UInt8Array
from edge.vision.scene import ColourNetworks, with_chroma
from training.judging.judge import coloured, grey_copy
from training.metrics.colour import colourfulness, small
from training.metrics.flicker import MIN_FRAMES, MIN_SIDE_PX, Flicker, Motion, motion_between

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoReport:
    """`cdc`, `warp_error` (see training.metrics.flicker) and mean `colourfulness` of the first `frames` frames.

    grey: of the luma alone, whose scores come from the scene and the camera; raw: of the networks' colours, frame by
    frame; shown: with the context vector held and the chroma smoothed over time, as the service does.
    """

    frames: int
    grey: dict[str, float]
    raw: dict[str, float]
    shown: dict[str, float]


def judge_video(networks: ColourNetworks, path: Path, *, frames: int | None = None) -> VideoReport:
    """Colour a video, or its first `frames` frames, and measure its flicker.

    Raises:
        InputError: not a video, too small, or fewer than MIN_FRAMES frames can be decoded.
    """
    grey, raw, shown = _Scores(), _Scores(), _Scores()
    before: UInt8Array | None = None
    count = 0
    with closing(ClipReader(path)) as clip:
        lumas = _large_enough(path, islice(clip, frames))
        for luma, smooth in with_chroma(networks, tqdm(lumas, unit="frame", disable=None), clip.fps):
            motion = None if before is None else motion_between(before, luma)
            grey.add(grey_copy(luma), motion)
            raw.add(coloured(luma, networks.colour(luma, networks.context(luma))), motion)
            shown.add(coloured(luma, smooth), motion)
            before = luma
            count += 1
        if frames is None and clip.lacks(count):
            log.warning("%s: broken after %d of %d frames: judged up to there", path, count, clip.frames)
    if count < MIN_FRAMES:
        raise InputError(f"{path}: {count} frames can be decoded: flicker shows in {MIN_FRAMES} or more")
    return VideoReport(count, grey.mean(), raw.mean(), shown.mean())


class _Scores:
    """Of one of the three renderings."""

    def __init__(self) -> None:
        self._flicker = Flicker()
        self._colourfulness: list[float] = []

    def add(self, rgb: UInt8Array, motion: Motion | None) -> None:
        self._flicker.add(rgb, motion)
        self._colourfulness.append(colourfulness(small(rgb)))

    def mean(self) -> dict[str, float]:
        return self._flicker.scores() | {"colourfulness": float(np.mean(self._colourfulness))}


def _large_enough(path: Path, lumas: Iterable[UInt8Array]) -> Iterator[UInt8Array]:
    for luma in lumas:
        height, width = luma.shape
        if min(height, width) < MIN_SIDE_PX:
            raise InputError(f"{path}: frames of {width}x{height}: flicker is measured from {MIN_SIDE_PX} pixels on")
        yield luma
