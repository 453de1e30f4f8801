"""What the colour lane may spend at the moment: the governor sets it, the lane reads it for each frame."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edge.types import UInt8Array


@dataclass(frozen=True, slots=True)
class Limits:
    """Detection has none: it is what the unit is there for.

    Attributes:
        context_factor: the scene's context vector is renewed so many times more seldom, 1 or more.
        colour_max_fps: most coloured frames a second; None for as many as come.
        frame_scale: share of the frame's width and height that is coloured and shown, above 0 to 1.
    """

    context_factor: float = 1.0
    colour_max_fps: float | None = None
    frame_scale: float = 1.0

    @property
    def colour_interval_ns(self) -> int:
        """Least time from one coloured frame to the next."""
        return round(1e9 / self.colour_max_fps) if self.colour_max_fps else 0

    def scaled(self, luma: UInt8Array) -> UInt8Array:
        """The luma uint8[H, W] to colour: the frame's own at full size, else a smaller copy, even in both sizes."""
        if self.frame_scale == 1.0:
            return luma
        height, width = (max(2, round(pixels * self.frame_scale / 2) * 2) for pixels in luma.shape)
        return np.asarray(cv2.resize(luma, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


UNLIMITED = Limits()
