"""From luma to detections on the GPU."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from edge.bundles.manifest import Manifest
from edge.inference.cuda import Device
from edge.inference.engine import GpuNetwork
from edge.inference.launches import Kernels
from edge.types import Detections, UInt8Array
from edge.vision.base import MIN_SCORE, Detector
from edge.vision.gpu.pictures import LumaBuffer, NetworkInput
from edge.vision.gpu.repeated import Repeated
from edge.vision.networks import check_labels, detections_of
from edge.vision.preprocess import Letterbox, Size


class GpuDetector(Detector):
    """See `Detector`. Boxes are found on the GPU; the CPU sorts out the few that there are."""

    def __init__(self, device: Device, kernels: Kernels, recognizer: GpuNetwork, manifest: Manifest) -> None:
        """Allocate all but what depends on the frames' size, which is done at the first frame.

        Args:
            recognizer: taken over: `close` frees it.

        Raises:
            CudaError: the GPU's memory is full, or the GPU is lost. The network is left to the caller.
        """
        self.labels = manifest.labels
        self._device, self._kernels, self._recognizer, self._manifest = device, kernels, recognizer, manifest
        self._frame: _Frame | None = None
        with device.current():
            self._stream: Any = device.stream()
            model = manifest.models["recognizer"]
            self._image: NetworkInput | None = NetworkInput(device, model)
            self._found = {name: device.buffer(spec.shape, spec.dtype) for name, spec in model.outputs.items()}
            addresses = {name: buffer.address for name, buffer in self._found.items()}
            recognizer.place({"image": self._image.address, **addresses})

    def detect(self, luma: UInt8Array, min_score: float = MIN_SCORE) -> Detections:
        with self._device.current():
            if self._image is None:
                raise ValueError("the detector is closed")
            frame = self._frame_of(luma, self._image)
            try:
                frame.work.enqueue()
            finally:
                self._stream.synchronize()  # after an error too: where a fault is its reason, this tells it
        boxes, scores, labels = (self._found[name].host[0] for name in ("boxes", "scores", "labels"))
        detections = detections_of(boxes, scores, labels, frame.place, min_score)
        check_labels(detections.labels, self._manifest)
        return detections

    def close(self) -> None:
        with ExitStack() as closing:
            closing.callback(self._recognizer.close)
            closing.enter_context(self._device.current())
            self._forget_frame()
            self._found.clear()
            self._image = self._stream = None

    def _frame_of(self, luma: UInt8Array, image: NetworkInput) -> _Frame:
        """What belongs to frames of this size, filled with this one."""
        size = luma.shape[0], luma.shape[1]
        if self._frame is None or self._frame.luma.size != size:
            self._forget_frame()
            self._frame = self._new_frame(size, image)
        self._frame.luma.fill(luma)
        return self._frame

    def _new_frame(self, size: Size, image: NetworkInput) -> _Frame:
        luma, place = LumaBuffer(self._device, size), Letterbox.fit(size, image.size)

        def enqueue() -> None:
            luma.upload(self._stream)
            self._kernels.launch(image.resized(luma, place.inner), self._stream)
            self._recognizer.enqueue(self._stream)
            for buffer in self._found.values():
                buffer.download(self._stream)

        return _Frame(luma, place, Repeated(self._device, self._stream, enqueue, f"detection at {size[1]}x{size[0]}"))

    def _forget_frame(self) -> None:
        frame, self._frame = self._frame, None
        if frame is not None:
            frame.work.close()


@dataclass(frozen=True, slots=True)
class _Frame:
    """What belongs to frames of one size."""

    luma: LumaBuffer
    place: Letterbox
    work: Repeated
