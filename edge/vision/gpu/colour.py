"""From luma to NV12 on the GPU."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np

from edge.bundles.manifest import ModelEntry, ModelName, TensorSpec
from edge.inference.cuda import Device
from edge.inference.engine import GpuNetwork
from edge.inference.launches import Kernels
from edge.kernels.base import PAPER, MergeStyle
from edge.kernels.launch import Launch, cell_luma_launch, filter_launch, grey_launch, merge_launch
from edge.kernels.parameters import CellLumaParams, Cells, FilterParams, GreyParams, MergeParams
from edge.types import UInt8Array
from edge.video.nv12 import even
from edge.vision.base import Colourist
from edge.vision.gpu.pictures import LumaBuffer, NetworkInput, aligned
from edge.vision.gpu.repeated import Repeated
from edge.vision.preprocess import Size


class GpuColourist(Colourist):
    """See `Colourist`. Luma goes to the GPU once a frame, NV12 comes back once, and the GPU is waited for once."""

    def __init__(
        self,
        device: Device,
        kernels: Kernels,
        networks: Mapping[ModelName, GpuNetwork],
        models: Mapping[ModelName, ModelEntry],
        *,
        smoothing: float,
        style: MergeStyle = PAPER,
    ) -> None:
        """Allocate all but what depends on the frames' size, which is done at the first frame.

        Args:
            networks: context and colorizer, taken over: `close` frees them.
            models: what the manifest says of them.
            smoothing: of the chroma filter, 0 (off) to below 1.

        Raises:
            CudaError: the GPU's memory is full, or the GPU is lost. The networks are left to the caller.
        """
        self._device, self._kernels, self._style, self._smoothing = device, kernels, style, smoothing
        self._networks = networks
        self._has_context = self._has_past = False
        self._frame: _Frame | None = None
        self._following: Repeated | None = None
        with device.current():
            self._stream: Any = device.stream()
            self._tensors: _Tensors | None = _Tensors(device, models)
            self._tensors.place(networks)

    def renew_context(self, luma: UInt8Array) -> None:
        with self._device.current():
            tensors, frame = self._open(), self._frame_of(luma)
            try:
                frame.luma.upload(self._stream)
                self._kernels.launch(tensors.context_luma.resized(frame.luma), self._stream)
                self._networks["context"].enqueue(self._stream)
            finally:
                self._stream.synchronize()  # after an error too: where a fault is its reason, this tells it
        self._has_context = True

    def nv12(self, luma: UInt8Array) -> UInt8Array:
        with self._device.current():
            tensors = self._open()
            if not self._has_context:
                raise ValueError("renew_context comes first")
            frame = self._frame_of(luma)
            has_past, self._has_past = self._has_past, False
            try:
                if has_past:
                    self._following_of(frame).enqueue()
                else:
                    self._enqueue(frame, has_past=False)
            finally:
                self._stream.synchronize()
        is_grey = bool(tensors.is_grey.host[0])
        self.grey_frames += is_grey
        self._has_past = not is_grey
        return frame.picture()

    def grey(self, luma: UInt8Array) -> UInt8Array:
        with self._device.current():
            tensors, frame = self._open(), self._frame_of(luma)
            try:
                frame.luma.upload(self._stream)
                self._kernels.launch(merge_launch(frame.merged(tensors.no_chroma, self._style)), self._stream)
                frame.nv12.download(self._stream)
            finally:
                self._stream.synchronize()
        return frame.picture()

    @property
    def cells(self) -> UInt8Array:
        return self._open().cells.host

    def forget(self) -> None:
        self._has_past = False

    def close(self) -> None:
        with ExitStack() as closing:
            for network in self._networks.values():
                closing.callback(network.close)
            closing.enter_context(self._device.current())
            self._forget_frame()
            self._tensors = self._stream = None

    def _open(self) -> _Tensors:
        if self._tensors is None:
            raise ValueError("the colourist is closed")
        return self._tensors

    def _frame_of(self, luma: UInt8Array) -> _Frame:
        """What belongs to frames of this size, filled with this one."""
        size = luma.shape[0], luma.shape[1]
        if self._frame is None or self._frame.luma.size != size:
            self._forget_frame()
            self._frame = _Frame(self._device, size)
        self._frame.luma.fill(luma)
        return self._frame

    def _following_of(self, frame: _Frame) -> Repeated:
        """The work on a frame that goes on from the last."""
        if self._following is None:
            work = partial(self._enqueue, frame, has_past=True)
            name = "colour at {1}x{0}".format(*frame.luma.size)
            self._following = Repeated(self._device, self._stream, work, name)
        return self._following

    def _forget_frame(self) -> None:
        following, self._following, self._frame = self._following, None, None
        if following is not None:
            following.close()

    def _enqueue(self, frame: _Frame, *, has_past: bool) -> None:
        """Put all of a frame's work on the stream; `has_past`: its chroma goes on from the last frame's."""
        stream, tensors = self._stream, self._open()
        frame.luma.upload(stream)
        self._kernels.launch(tensors.colorizer_luma.resized(frame.luma), stream)
        self._networks["colorizer"].enqueue(stream)
        self._kernels.launch(tensors.cell_luma(frame.luma), stream)
        tensors.cells.download(stream)
        chroma = tensors.ab
        if self._smoothing > 0:
            chroma = tensors.shown
            self._kernels.launch(tensors.filtered(self._smoothing, has_past=has_past), stream)
            self._device.copy(int(tensors.previous_cells), tensors.cells.address, tensors.cell_count, stream)
        self._kernels.launch(tensors.checked(chroma), stream)
        self._kernels.launch(merge_launch(frame.merged(tensors.as_cells(chroma, self._style), self._style)), stream)
        frame.nv12.download(stream)


class _Tensors:
    """What lasts from frame to frame, whatever their size."""

    def __init__(self, device: Device, models: Mapping[ModelName, ModelEntry]) -> None:
        ab = models["colorizer"].outputs["ab"]
        self.context_luma = NetworkInput(device, models["context"])
        self.colorizer_luma = NetworkInput(device, models["colorizer"])
        self.context = device.memory(_bytes(models["context"].outputs["context"]))  # the colorizer's input as well
        self.ab = device.memory(_bytes(ab))
        self.shown = device.memory(_bytes(ab))  # filtered
        self.height, self.width = ab.shape[2:]
        self.cell_count = self.height * self.width
        self.cells = device.buffer((self.height, self.width), "uint8")  # their luma
        self.previous_cells = device.memory(self.cell_count)
        self.is_grey = device.buffer((1,), "int32", mapped=True)
        self._zeros = device.buffer((2, 1, 1), "float32", mapped=True)
        self._zeros.host[:] = 0

    def place(self, networks: Mapping[ModelName, GpuNetwork]) -> None:
        context, ab = int(self.context), int(self.ab)
        networks["context"].place({"luma": self.context_luma.address, "context": context})
        networks["colorizer"].place({"luma": self.colorizer_luma.address, "context": context, "ab": ab})

    def cell_luma(self, luma: LumaBuffer) -> Launch:
        (height, width), out = luma.size, self.cells.address
        return cell_luma_launch(CellLumaParams(luma.address, out, luma.pitch, width, height, self.width, self.height))

    def filtered(self, smoothing: float, *, has_past: bool) -> Launch:
        params = FilterParams(ab=int(self.ab), luma=self.cells.address, out=int(self.shown), smoothing=smoothing)
        params.width, params.height = self.width, self.height
        if has_past:
            params.previous_ab, params.previous_luma = int(self.shown), int(self.previous_cells)
        return filter_launch(params)

    def checked(self, chroma: Any) -> Launch:
        return grey_launch(GreyParams(int(chroma), self.is_grey.address, 2 * self.cell_count))

    @property
    def no_chroma(self) -> Cells:
        """One cell, as large as the frame."""
        return Cells(self._zeros.address, None, None, 1, 1, 0, PAPER.guide_sigma)

    def as_cells(self, chroma: Any, style: MergeStyle) -> Cells:
        luma = self.cells.address if style.upsampling == "guided" else None
        return Cells(int(chroma), None, luma, self.width, self.height, 0, style.guide_sigma)


class _Frame:
    """What belongs to frames of one size."""

    def __init__(self, device: Device, size: Size) -> None:
        self.luma = LumaBuffer(device, size)
        self._height, self._width = even(size[0]), even(size[1])
        self.nv12 = device.buffer((self._height * 3 // 2, aligned(self._width)), "uint8")

    def merged(self, cells: Cells, style: MergeStyle) -> MergeParams:
        pitch = self.nv12.host.shape[1]
        params = MergeParams(cells=cells, luma=self.luma.address, luma_pitch=self.luma.pitch)
        params.height, params.width = self.luma.size
        params.y, params.cbcr = self.nv12.address, self.nv12.address + self._height * pitch
        params.y_pitch = params.cbcr_pitch = pitch
        params.bt709, params.left = style.standard == "bt709", style.siting == "left"
        return params

    def picture(self) -> UInt8Array:
        """A new array, once the stream has come past `nv12.download`."""
        return np.array(self.nv12.host[:, : self._width])


def _bytes(spec: TensorSpec) -> int:
    return math.prod(spec.shape) * np.dtype(spec.dtype).itemsize
