"""Work that a lane puts on its stream for each frame, as one CUDA graph."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from edge.errors import TapetumError
from edge.inference.cuda import Device, GpuFaultError
from edge.inference.launches import Graph

log = logging.getLogger(__name__)

_PLAIN_RUNS = 1  # TensorRT prepares itself in the first


class Repeated:
    """Always the same work, on the same memory: captured when it comes the second time.

    Where that cannot be done its kernels are launched one by one, as the first time.
    """

    def __init__(self, device: Device, stream: Any, work: Callable[[], None], name: str) -> None:
        """`work` puts all of it on `stream`; `name` says in the log what it is."""
        self._device, self._stream, self._work, self._name = device, stream, work, name
        self._runs = 0
        self._graph: Graph | None = None

    def enqueue(self) -> None:
        """Put it on the stream once.

        Raises:
            TapetumError: what the work raises.
        """
        if self._runs == _PLAIN_RUNS:
            self._graph = self._captured()
        if self._graph is None:
            self._work()
        else:
            self._graph.launch(self._stream)
        self._runs += 1

    def _captured(self) -> Graph | None:
        try:
            return self._device.captured(self._stream, self._work)
        except GpuFaultError:
            raise
        except TapetumError as error:
            log.warning("no CUDA graph of %s: %s; its kernels are launched one by one", self._name, error)
            return None

    def close(self) -> None:
        """Free the graph, when the stream has come past it."""
        graph, self._graph = self._graph, None
        if graph is not None:
            graph.close()
