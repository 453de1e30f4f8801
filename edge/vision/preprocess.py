"""From a frame to the networks' inputs, and boxes back. Calibration and evaluation call these very functions, and
training does the same arithmetic.

Exactly: the uint8 frame is resized in uint8 with cv2.resize, INTER_AREA when neither axis grows, else INTER_LINEAR
(at its own size it is copied); then the float32 value is the 8-bit value times `scale` (1 / 255). A letterbox of
S_h x S_w takes the ratio r = min(S_h / H, S_w / W), resizes to max(1, round(H * r)) x max(1, round(W * r)) (Python's
round: half to even), lays the picture in the top left corner and fills the rest with `pad`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edge.types import Float32Array, UInt8Array

Size = tuple[int, int]
"""(height, width) in pixels."""

SCALE = 1 / 255


def squash(luma: UInt8Array, size: Size, *, scale: float = SCALE, out: Float32Array | None = None) -> Float32Array:
    """Resize to `size`, whatever the aspect.

    Args:
        luma: uint8[H, W], 0..255, any strides.
        size: height and width of the network's input.
        scale: multiplies the 8-bit values.
        out: float32[1, 1, *size], contiguous: filled and returned instead of a new array.

    Returns:
        float32[1, 1, *size], 0..1.
    """
    tensor = np.empty((1, 1, *size), np.float32) if out is None else out
    np.multiply(_resize(luma, size), np.float32(scale), out=tensor[0, 0])
    return tensor


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where a frame lies in the network's input: the top left `inner` pixels of it."""

    frame: Size
    inner: Size

    @classmethod
    def fit(cls, frame: Size, size: Size) -> Letterbox:
        """Place a frame of (H, W) pixels in an input of `size`, as large as its aspect allows."""
        ratio = min(size[0] / frame[0], size[1] / frame[1])
        return cls(frame, (max(1, round(frame[0] * ratio)), max(1, round(frame[1] * ratio))))

    def boxes_to_frame(self, boxes: Float32Array) -> Float32Array:
        """Boxes float32[N, 4], xyxy in input pixels, as a new array of xyxy in frame pixels, clipped to the frame."""
        (height, width), (inner_height, inner_width) = self.frame, self.inner
        ratio = np.array([width / inner_width, height / inner_height] * 2, np.float32)
        limits = np.array([width, height] * 2, np.float32)
        return np.asarray(np.clip(boxes * ratio, 0, limits), np.float32)


def letterbox(
    luma: UInt8Array, size: Size, pad: float, *, scale: float = SCALE, out: Float32Array | None = None
) -> tuple[Float32Array, Letterbox]:
    """Resize to fit `size` with the aspect kept, top left; the rest is `pad`.

    Args:
        luma: uint8[H, W], 0..255, any strides.
        size: height and width of the network's input.
        pad: value of the rest, in the scaled range.
        scale, out: as in `squash`.

    Returns:
        float32[1, 1, *size] in 0..1, and the placement that maps boxes back.
    """
    tensor = np.empty((1, 1, *size), np.float32) if out is None else out
    place = Letterbox.fit((luma.shape[0], luma.shape[1]), size)
    height, width = place.inner
    image = tensor[0, 0]
    np.multiply(_resize(luma, place.inner), np.float32(scale), out=image[:height, :width])
    image[height:] = pad
    image[:height, width:] = pad
    return tensor, place


def _resize(luma: UInt8Array, size: Size) -> UInt8Array:
    height, width = luma.shape
    if (height, width) == size:
        return luma
    shrinks = size[0] <= height and size[1] <= width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(luma, (size[1], size[0]), interpolation=method), np.uint8)
