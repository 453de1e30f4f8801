"""Which frames a calibration set takes, which it leaves out and why, and what the set still lacks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge.errors import InputError
from trt_build.calibration.fingerprints import Known
from trt_build.calibration.frames import NIGHT_BELOW, Candidate

FEWEST = 16
FEW = 100
DARK_BELOW, BRIGHT_FROM = 32, 224
LEAST_SHARE = 0.01  # of a set's pixels should be dark, and bright
LEAST_FRAMES = 0.1  # of a set's frames should be of the night, and of the day
LEAST_LEVEL = 1e-5  # of the pixels: below that a luma counts as not seen


class OverlapError(InputError):
    """Frames that accuracy will be measured on would also set the ranges. `pairs` are frame and validation image."""

    def __init__(self, pairs: Sequence[tuple[Path, Path]]) -> None:
        self.pairs = list(pairs)
        frame, image = self.pairs[0]
        super().__init__(
            f"{len(self.pairs)} of the frames are validation images too (first {frame}, like {image}): what is "
            "measured on them would flatter: leave them out of FRAMES"
        )


@dataclass
class Sorted:
    """Frames that can be used, and the others: duplicates with the frame that they are like."""

    usable: list[Candidate] = field(default_factory=list)
    duplicates: list[tuple[Path, Path]] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)


def sort(candidates: Iterable[Candidate | InputError], validation: Known, near_bits: int) -> Sorted:
    """Leave out what is corrupt or a duplicate.

    Raises:
        OverlapError: a frame is, or looks like, a validation image.
        InputError: too few frames are left.
    """
    result, known, overlap = Sorted(), Known(near_bits), list[tuple[Path, Path]]()
    for each in candidates:
        if isinstance(each, InputError):
            result.corrupt.append(str(each))
        elif twin := validation.like(each.fingerprint):
            overlap.append((each.source, twin))
        elif twin := known.like(each.fingerprint):
            result.duplicates.append((each.source, twin))
        else:
            known.add(each.source, each.fingerprint)
            result.usable.append(each)
    if overlap:
        raise OverlapError(overlap)
    if len(result.usable) < FEWEST:
        first = f", first {result.corrupt[0]}" if result.corrupt else ""
        raise InputError(
            f"{len(result.usable)} usable frames ({len(result.duplicates)} duplicates and {len(result.corrupt)} "
            f"corrupt ones left out{first}): at least {FEWEST} are needed, {FEW} are better: give more frames"
        )
    return result


@dataclass(frozen=True)
class Coverage:
    """What light a set has seen; shares in 0..1.

    Attributes:
        histogram: pixels of each luma, each frame counting the same: float64[256], its sum 1.
        levels: how many of the 256 luma values occur, as a share.
        night: frames whose median luma is below NIGHT_BELOW.
    """

    frames: int
    histogram: npt.NDArray[np.float64]
    levels: float
    dark: float
    bright: float
    night: float

    @classmethod
    def of(cls, frames: Sequence[Candidate]) -> Coverage:
        """Of the frames of a set."""
        histogram = np.mean([frame.histogram / frame.histogram.sum() for frame in frames], axis=0)
        return cls(
            len(frames),
            histogram,
            levels=float(np.mean(histogram >= LEAST_LEVEL)),
            dark=float(histogram[:DARK_BELOW].sum()),
            bright=float(histogram[BRIGHT_FROM:].sum()),
            night=float(np.mean([frame.night for frame in frames])),
        )

    def warnings(self) -> list[str]:
        """What the set lacks, a line each; empty for a good one."""
        few, dark, bright = self.frames < FEW, self.dark >= LEAST_SHARE, self.bright >= LEAST_SHARE
        night, day = self.night >= LEAST_FRAMES, self.night <= 1 - LEAST_FRAMES
        lacks = [
            (few, f"{self.frames} frames: at least {FEW} give steadier ranges"),
            (not dark, f"hardly anything dark (luma below {DARK_BELOW}): add frames of deep shadow or of the night"),
            (not bright, f"hardly anything bright (luma from {BRIGHT_FROM} on): add frames with lamps, sky or flash"),
            (not night, f"hardly any night frames (median luma below {NIGHT_BELOW}): add some"),
            (not day, f"hardly any day frames (median luma from {NIGHT_BELOW} on): add some"),
        ]
        return [warning for there, warning in lacks if there]
