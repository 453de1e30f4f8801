"""JPEGs that are no larger than asked for."""

from __future__ import annotations

import cv2
import numpy as np

from edge.types import UInt8Array

QUALITIES = (90, 75, 60, 45)  # below that, fewer pixels look better
SHRINK = 0.7


def jpeg(picture: UInt8Array, max_bytes: int) -> tuple[bytes, tuple[int, int]]:
    """A picture, grey uint8[H, W] or BGR uint8[H, W, 3], as a JPEG, and its width and height in pixels.

    First quality is given up, then size, until it fits into `max_bytes`, of which there must be 2 KiB.
    """
    while True:
        for quality in QUALITIES:
            _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
            if len(data) <= max_bytes:
                return data.tobytes(), (picture.shape[1], picture.shape[0])
        picture = np.asarray(cv2.resize(picture, _smaller(picture), interpolation=cv2.INTER_AREA), np.uint8)


def _smaller(picture: UInt8Array) -> tuple[int, int]:
    height, width = picture.shape[:2]
    return max(1, int(width * SHRINK)), max(1, int(height * SHRINK))
