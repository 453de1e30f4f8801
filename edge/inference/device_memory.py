"""Memory that the CPU and the GPU both see. `driver` is pycuda's: see `edge.inference.cuda`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt


class Buffer:
    """One array that the CPU and the GPU both see, allocated once.

    A discrete GPU has a copy of its own, filled from pinned memory and fetched into it. An integrated one uses the
    CPU's memory where it is, and nothing is copied; nor is it where it is `mapped`.

    Attributes:
        host: the CPU's side. Fill it before `upload`, read it when the stream has come past `download`.
        address: the GPU's side, aligned to 256 bytes at least.
    """

    def __init__(self, driver: Any, shape: tuple[int, ...], dtype: str, *, mapped: bool) -> None:
        self._driver = driver
        flags = driver.host_alloc_flags.DEVICEMAP if mapped else 0
        pinned = driver.pagelocked_empty(math.prod(shape), np.dtype(dtype), mem_flags=flags)
        self.host: npt.NDArray[Any] = pinned.reshape(shape)
        self._memory = None if mapped else driver.mem_alloc(pinned.nbytes)
        self.address = int(self._memory or pinned.base.get_device_pointer())

    def upload(self, stream: Any) -> None:
        """Put the copy from the CPU's side to the GPU's on a stream."""
        if self._memory is not None:
            self._driver.memcpy_htod_async(self._memory, self.host, stream)

    def download(self, stream: Any) -> None:
        """Put the copy from the GPU's side to the CPU's on a stream."""
        if self._memory is not None:
            self._driver.memcpy_dtoh_async(self.host, self._memory, stream)
