"""The GPU for measurements: the project's own device, its kernels, and CUDA events."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from edge.engines.cubins import architecture
from edge.inference.cuda import Device, open_device
from edge.inference.launches import Kernels
from edge.kernels.launch import KERNELS, SOURCE
from edge.kernels.nvrtc import Nvrtc
from edge.types import UInt8Array
from tests.gpu_check.timing import Once


class Bench:
    """The GPU with one stream. Everything that is done with it stands in `with bench.device.current()`."""

    def __init__(self, device: Device) -> None:
        from pycuda.driver import Event

        self.device = device
        self.stream = device.stream()
        self._start, self._end = Event(), Event()

    def by_events(self, work: Callable[[], None]) -> Once:
        """Times what `work` puts on the stream, with its way there: two events around it, then it is waited for."""

        def once() -> float:
            self._start.record(self.stream)
            work()
            self._end.record(self.stream)
            self._end.synchronize()
            return float(self._end.time_since(self._start))

        return once

    def as_graph(self, work: Callable[[], None]) -> Callable[[], None]:
        """The same work as one CUDA graph. Run it once before: what is captured must have prepared itself."""
        graph = self.device.captured(self.stream, work)
        return lambda: graph.launch(self.stream)


def merge_kernels(device: Device, source: Path = SOURCE, names: Iterable[str] = KERNELS) -> Kernels:
    """The merge kernels, compiled for this GPU as `tapetum-build build` does it."""
    return device.kernels([(Nvrtc().compile(source, architecture(device.gpu.compute_capability)).code, names)])


class DeviceMemory:
    """Arrays in the GPU's memory, each at an address of its own: `tests.gpu_check.merge_cases.Memory`."""

    def __init__(self, device: Device, stream: Any) -> None:
        self._device, self._stream = device, stream
        self._buffers: dict[int, Any] = {}

    def put(self, content: UInt8Array) -> int:
        buffer = self._device.buffer(content.shape, "uint8")
        buffer.host[:] = content
        buffer.upload(self._stream)
        self._stream.synchronize()
        self._buffers[buffer.address] = buffer
        return int(buffer.address)

    def get(self, address: int) -> UInt8Array:
        buffer = self._buffers[address]
        buffer.download(self._stream)
        self._stream.synchronize()
        return np.array(buffer.host)

    def clear(self) -> None:
        self._buffers.clear()


def bench() -> Bench:
    """The GPU of this machine.

    Raises:
        NoGpuError: there is none, and why.
    """
    device = open_device()
    with device.current():
        return Bench(device)
