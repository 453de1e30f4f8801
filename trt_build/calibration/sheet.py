"""Pictures of a calibration set: all its frames at a glance, and its histogram."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from edge.types import UInt8Array
from trt_build.calibration.frames import THUMBNAIL_PX, Candidate
from trt_build.calibration.hygiene import BRIGHT_FROM, DARK_BELOW, Coverage
from trt_build.graphs import spread

COLUMNS, SHOWN = 16, 256
GAP_PX = 4
PAPER, INK, GRID = (250, 250, 250), (60, 60, 60), (215, 215, 215)  # BGR
NIGHT, DAY = (150, 80, 40), (60, 160, 235)


def contact_sheet(frames: Sequence[Candidate]) -> UInt8Array:
    """Up to SHOWN frames, uint8[H, W, 3]; a bar below each says day (orange) or night (blue)."""
    shown = spread(frames, SHOWN)
    cell = THUMBNAIL_PX + 2 * GAP_PX
    columns = min(COLUMNS, len(shown))
    sheet = np.full((-(-len(shown) // columns) * cell, columns * cell, 3), PAPER, np.uint8)
    for i, frame in enumerate(shown):
        height, width = frame.thumbnail.shape
        top = i // columns * cell + (cell - height) // 2
        left = i % columns * cell + (cell - width) // 2
        sheet[top : top + height, left : left + width] = frame.thumbnail[..., None]
        sheet[top + height : top + height + 3, left : left + width] = NIGHT if frame.night else DAY
    return sheet


def histogram_chart(frames: Sequence[Candidate], coverage: Coverage) -> UInt8Array:
    """Share of the pixels at each luma, of night and day frames, on a logarithmic axis; uint8[480, 832, 3]."""
    chart = _Chart()
    chart.axes()
    for night, colour, name in ((False, DAY, "day"), (True, NIGHT, "night")):
        own = [frame.histogram / frame.histogram.sum() for frame in frames if frame.night == night]
        if own:
            chart.line(np.sum(own, axis=0) / len(frames), colour)
        chart.text(f"{name}: {len(own)} frames", (560, 60 + 22 * night), colour)
    chart.text(
        f"{coverage.frames} frames, {coverage.levels:.0%} of the 256 levels, dark {coverage.dark:.1%}, "
        f"bright {coverage.bright:.1%}",
        (64, 24),
    )
    return chart.picture


class _Chart:
    """Luma 0..255 to the right, shares of 10^-5 to 1 upwards."""

    LEFT, TOP, RIGHT, BOTTOM = 64, 36, 816, 432
    DECADES = 5

    def __init__(self) -> None:
        self.picture = np.full((480, 832, 3), PAPER, np.uint8)

    def axes(self) -> None:
        for luma in (*range(0, 256, 32), 255):
            x = self._x(luma)
            edge = luma in (
                DARK_BELOW,
                BRIGHT_FROM,
            )  # what counts as dark lies left of one, bright right of the other
            cv2.line(self.picture, (x, self.TOP), (x, self.BOTTOM), INK if edge else GRID, 1)
            if luma != BRIGHT_FROM + 31:
                self.text(str(luma), (x - 10, self.BOTTOM + 20))
        for decade in range(self.DECADES + 1):
            y = self._y(10.0**-decade)
            cv2.line(self.picture, (self.LEFT, y), (self.RIGHT, y), GRID, 1)
            self.text(f"{100 * 10.0**-decade:g}%", (4, y + 5))
        self.text("dark", (self._x(DARK_BELOW) - 40, self.TOP + 16))
        self.text("bright", (self._x(BRIGHT_FROM) + 8, self.TOP + 16))
        self.text("luma", (self.RIGHT // 2, self.BOTTOM + 40))

    def line(self, shares: npt.NDArray[np.float64], colour: tuple[int, int, int]) -> None:
        points = [(self._x(luma), self._y(share)) for luma, share in enumerate(shares)]
        cv2.polylines(self.picture, [np.array(points, np.int32)], isClosed=False, color=colour, thickness=2)

    def text(self, text: str, place: tuple[int, int], colour: tuple[int, int, int] = INK) -> None:
        cv2.putText(self.picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)

    def _x(self, luma: int) -> int:
        return self.LEFT + round(luma / 255 * (self.RIGHT - self.LEFT))

    def _y(self, share: float) -> int:
        decades = min(max(-math.log10(max(share, 1e-30)), 0.0), self.DECADES)
        return self.TOP + round(decades / self.DECADES * (self.BOTTOM - self.TOP))
