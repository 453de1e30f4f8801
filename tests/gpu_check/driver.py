"""Whether there is a GPU at all."""

from __future__ import annotations

import ctypes


def need_driver() -> None:
    """Check that CUDA's driver sees a GPU, without pycuda: what others do must not fail with it.

    Raises:
        RuntimeError: it does not, or is not there.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise RuntimeError(f"no GPU that CUDA can use: {error}") from error
    count = ctypes.c_int()
    code = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if code or not count.value:
        raise RuntimeError(f"no GPU that CUDA can use: the driver sees {count.value} GPUs (code {code})")
