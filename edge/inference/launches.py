"""Kernels, and CUDA graphs of them. `driver` is pycuda's: see `edge.inference.cuda`.

pycuda has no graphs: those functions of CUDA's driver are called by ctypes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import numpy as np

from edge.kernels.launch import Launch

LIBRARY = "libcuda.so.1"
_OUT_OF_MEMORY = 2  # CUDA_ERROR_OUT_OF_MEMORY
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
        _check(self._driver, "cuGraphLaunch", self._executable, stream.handle)

    def close(self) -> None:
        """Free it, when its stream has come past it. May be called again."""
        if self._executable:
            _check(self._driver, "cuGraphExecDestroy", self._executable)
            self._executable = ctypes.c_void_p()


def capture(driver: Any, stream: Any, work: Callable[[], None]) -> Graph:
    """What `work` puts on a stream, which must not be the default one, as a graph.

    Raises:
        Exception: what `work` raises, or pycuda's own. The stream is as before.
    """
    graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
    _check(driver, "cuStreamBeginCapture_v2", stream.handle, _THREAD_LOCAL)
    try:
        work()
    except BaseException:
        _library().cuStreamEndCapture(stream.handle, ctypes.byref(graph))  # what it returns is no news
        _destroy(driver, graph)
        raise
    _check(driver, "cuStreamEndCapture", stream.handle, ctypes.byref(graph))
    try:
        _check(driver, "cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, 0)
    finally:
        _destroy(driver, graph)
    return Graph(driver, executable)


def _destroy(driver: Any, graph: ctypes.c_void_p) -> None:
    if graph:
        _check(driver, "cuGraphDestroy", graph)


def _check(driver: Any, name: str, *arguments: Any) -> None:
    """Call a function of the driver; its errors are raised as pycuda raises those of its own functions."""
    code = getattr(_library(), name)(*arguments)
    if code:
        text = ctypes.c_char_p(b"unknown error")
        _library().cuGetErrorString(code, ctypes.byref(text))
        kind = driver.MemoryError if code == _OUT_OF_MEMORY else driver.LogicError
        raise kind(f"{name.partition('_')[0]} failed: {(text.value or b'').decode()}")


_PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "cuStreamBeginCapture_v2": (ctypes.c_void_p, ctypes.c_int),
    "cuStreamEndCapture": (ctypes.c_void_p, ctypes.c_void_p),
    "cuGraphInstantiateWithFlags": (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ulonglong),
    "cuGraphLaunch": (ctypes.c_void_p, ctypes.c_void_p),
    "cuGraphDestroy": (ctypes.c_void_p,),
    "cuGraphExecDestroy": (ctypes.c_void_p,),
    "cuGetErrorString": (ctypes.c_int, ctypes.c_void_p),
}


@cache
def _library() -> ctypes.CDLL:
    """CUDA's driver, which pycuda has loaded already. All of these are in it from CUDA 11.4 on."""
    library = ctypes.CDLL(LIBRARY)
    for name, arguments in _PROTOTYPES.items():
        getattr(library, name).argtypes = arguments
    return library
