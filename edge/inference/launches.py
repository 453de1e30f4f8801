"""Kernels, and CUDA graphs of them. `driver` is pycuda's: see `edge.inference.cuda`."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from edge.inference.libcuda import call, library
from edge.kernels.launch import Launch

_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other lanes work on meanwhile


class Kernels:
    """The kernels of some cubins."""

    def __init__(self, driver: Any, cubins: Iterable[tuple[bytes, Iterable[str]]]) -> None:
        """Load machine code, each with the names of its kernels."""
        self._functions: dict[str, Any] = {}
        for cubin, names in cubins:
            module = driver.module_from_buffer(cubin)  # which its functions keep alive
            self._functions |= {name: module.get_function(name) for name in names}

    def launch(self, launch: Launch, stream: Any) -> None:
        """Put one launch on a stream. Its parameters are copied at once."""
        function = self._functions[launch.kernel]
        function(np.void(launch.params), grid=launch.grid, block=launch.block, stream=stream)


class Graph:
    """Work that was captured, to be put on a stream as one."""

    def __init__(self, driver: Any, executable: ctypes.c_void_p) -> None:
        self._driver = driver
        self._executable = executable

    def launch(self, stream: Any) -> None:
        """Put all of it on a stream."""
        call(self._driver, "cuGraphLaunch", self._executable, stream.handle)

    def close(self) -> None:
        """Free it, when its stream has come past it. May be called again."""
        if self._executable:
            call(self._driver, "cuGraphExecDestroy", self._executable)
            self._executable = ctypes.c_void_p()


def capture(driver: Any, stream: Any, work: Callable[[], None]) -> Graph:
    """What `work` puts on a stream, which must not be the default one, as a graph.

    Raises:
        Exception: what `work` raises, or pycuda's own. The stream is as before.
    """
    graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
    with _no_collection():
        call(driver, "cuStreamBeginCapture_v2", stream.handle, _THREAD_LOCAL)
        try:
            work()
        except BaseException:
            library().cuStreamEndCapture(stream.handle, ctypes.byref(graph))  # what it returns is no news
            _destroy(driver, graph)
            raise
        call(driver, "cuStreamEndCapture", stream.handle, ctypes.byref(graph))
    try:
        call(driver, "cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, 0)
    finally:
        _destroy(driver, graph)
    return Graph(driver, executable)


def _destroy(driver: Any, graph: ctypes.c_void_p) -> None:
    if graph:
        call(driver, "cuGraphDestroy", graph)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Within the block Python's garbage collector rests: what it frees on the GPU would make a capture void."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
