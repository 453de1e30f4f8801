"""Frames in the GPU's memory, and the inputs that networks get from them."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge.bundles.manifest import ModelEntry
from edge.inference.cuda import Device
from edge.kernels.launch import Launch
from edge.kernels.resize import ResizeParams, resize_launch
from edge.types import UInt8Array
from edge.vision.preprocess import Size

_ALIGNMENT = 64  # bytes: the kernels take 16 at a time, memory is read in 32


def aligned(width: int) -> int:
    """The pitch of rows of so many bytes."""
    return -(-width // _ALIGNMENT) * _ALIGNMENT


class LumaBuffer:
    """The newest frame's luma. While the stream works with it, it must not be filled.

    Attributes:
        size: height and width in pixels.
        pitch: bytes from row to row.
        address: of the first row, for the GPU.
    """

    def __init__(self, device: Device, size: Size) -> None:
        self.size = size
        self.pitch = aligned(size[1])
        self._buffer = device.buffer((size[0], self.pitch), "uint8")
        self._rows = self._buffer.host[:, : size[1]]
        self.address = self._buffer.address

    def fill(self, luma: UInt8Array) -> None:
        """Take over a frame uint8[H, W] of this size, any strides."""
        np.copyto(self._rows, luma)

    def upload(self, stream: Any) -> None:
        """Put its way to the GPU on a stream."""
        self._buffer.upload(stream)


class NetworkInput:
    """The picture that a network takes, float32[1, 1, h, w] in the GPU's memory.

    Attributes:
        size: height and width in pixels.
        address: for the GPU.
    """

    def __init__(self, device: Device, model: ModelEntry) -> None:
        self.size = model.input_size
        self._scale, self._pad = model.preprocessing.scale, model.preprocessing.pad or 0.0
        self._memory = device.memory(self.size[0] * self.size[1] * np.dtype(np.float32).itemsize)
        self.address = int(self._memory)

    def resized(self, luma: LumaBuffer, inner: Size | None = None) -> Launch:
        """Resize a frame to the top left `inner` pixels, else to all of it; the rest becomes the model's pad."""
        params = ResizeParams(
            luma=luma.address, out=self.address, luma_pitch=luma.pitch, scale=self._scale, pad=self._pad
        )
        params.height, params.width = luma.size
        params.inner_height, params.inner_width = inner or self.size
        params.out_height, params.out_width = self.size
        return resize_launch(params)
