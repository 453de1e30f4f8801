"""What pycuda does not have of CUDA's driver, called by ctypes. `driver` is pycuda's: see `edge.inference.cuda`."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

LIBRARY = "libcuda.so.1"
_OUT_OF_MEMORY = 2  # CUDA_ERROR_OUT_OF_MEMORY
_BLOCKING_SYNC = 4  # CU_CTX_SCHED_BLOCKING_SYNC

_PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "cuDeviceGet": (ctypes.c_void_p, ctypes.c_int),
    "cuDevicePrimaryCtxSetFlags_v2": (ctypes.c_int, ctypes.c_uint),
    "cuStreamBeginCapture_v2": (ctypes.c_void_p, ctypes.c_int),
    "cuStreamEndCapture": (ctypes.c_void_p, ctypes.c_void_p),
    "cuGraphInstantiateWithFlags": (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ulonglong),
    "cuGraphLaunch": (ctypes.c_void_p, ctypes.c_void_p),
    "cuGraphDestroy": (ctypes.c_void_p,),
    "cuGraphExecDestroy": (ctypes.c_void_p,),
    "cuGetErrorString": (ctypes.c_int, ctypes.c_void_p),
}


def call(driver: Any, name: str, *arguments: Any) -> None:
    """Call a function of the driver; its errors are raised as pycuda raises those of its own functions."""
    code = getattr(library(), name)(*arguments)
    if code:
        text = ctypes.c_char_p(b"unknown error")
        library().cuGetErrorString(code, ctypes.byref(text))
        kind = driver.MemoryError if code == _OUT_OF_MEMORY else driver.LogicError
        raise kind(f"{name.partition('_')[0]} failed: {(text.value or b'').decode()}")


@cache
def library() -> ctypes.CDLL:
    """CUDA's driver, which pycuda has loaded already. All of these are in it from CUDA 11.4 on."""
    loaded = ctypes.CDLL(LIBRARY)
    for name, arguments in _PROTOTYPES.items():
        getattr(loaded, name).argtypes = arguments
    return loaded


def wait_asleep(driver: Any, ordinal: int) -> None:
    """Let threads that wait for this GPU sleep, not spin. Before its primary context is retained for the first time.

    Raises:
        Exception: pycuda's: the driver does not let it be changed.
    """
    device = ctypes.c_int()
    call(driver, "cuDeviceGet", ctypes.byref(device), ordinal)
    call(driver, "cuDevicePrimaryCtxSetFlags_v2", device, _BLOCKING_SYNC)
