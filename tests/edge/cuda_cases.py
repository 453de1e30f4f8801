"""What edge/inference/cuda.py does with the real pycuda on a driver of ours. Each runs in a process of its own.

::

    python -m tests.edge.cuda_cases CASE     (the environment is that of tests/pycuda_runtime.py)
"""

from __future__ import annotations

import atexit
import ctypes
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from edge.inference.cuda import (
    CudaError,
    Gpu,
    GpuFaultError,
    GpuMemoryError,
    NoGpuError,
    find_gpu,
    need_gpu,
    open_device,
)
from edge.inference.device_memory import Buffer


def counter(name: str) -> int:
    return ctypes.c_int.in_dll(ctypes.CDLL("libcuda.so.1"), name).value


@contextmanager
def raises(kind: type[Exception], message: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        assert type(error) is kind, repr(error)
        assert re.search(message, str(error)), str(error)
    else:
        raise AssertionError(f"no {kind.__name__}")


def in_a_thread(function: Callable[[], None]) -> None:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    for error in errors:
        raise error


def the_gpu_is_told() -> None:
    assert find_gpu() == Gpu("Double", "8.7", False, "12.6", 8 << 30)
    os.environ["CUDA_INTEGRATED"] = "1"
    assert need_gpu().integrated


def no_device() -> None:
    os.environ["CUDA_FAILS"] = "cuInit=100"
    assert find_gpu() is None
    with raises(NoGpuError, "no GPU that CUDA can use: cuInit failed: no CUDA-capable device .*nvidia-smi"):
        need_gpu()
    with raises(NoGpuError, "no CUDA-capable device"):
        open_device()
    del os.environ["CUDA_FAILS"]
    assert open_device().gpu.name == "Double", "a failure is not remembered"


def a_context_that_cannot_be_had() -> None:
    os.environ["CUDA_FAILS"] = "cuDevicePrimaryCtxRetain=46"
    with raises(CudaError, "the GPU Double cannot be used: cuDevicePrimaryCtxRetain failed"):
        open_device()


def one_context_for_all() -> None:
    devices = []
    in_a_thread(lambda: devices.append(open_device()))
    devices.append(open_device())
    assert devices[0] is devices[1]
    assert counter("retained") == 1


def the_context_is_given_back_at_the_end() -> None:
    def check() -> None:
        assert counter("retained") == 0

    atexit.register(check)  # before the device does: the last that was registered is the first that runs
    with open_device().current():
        pass


def there_and_back(copies: int) -> None:
    """Up, over to another buffer on the GPU's side, and down again."""
    device = open_device()
    with device.current():
        stream, buffer = device.stream(), device.buffer((2, 3), "float32")
        assert stream.handle
        assert buffer.address % 256 == 0
        values = np.arange(6, dtype=np.float32).reshape(2, 3)
        np.copyto(buffer.host, values)
        buffer.upload(stream)
        stream.synchronize()
        at_the_gpu = np.ctypeslib.as_array(ctypes.cast(buffer.address, ctypes.POINTER(ctypes.c_float)), (2, 3))
        np.testing.assert_array_equal(at_the_gpu, values)
        at_the_gpu *= 10
        buffer.download(stream)
        if copies:
            np.testing.assert_array_equal(buffer.host, values, "nothing comes before the stream is waited for")
        stream.synchronize()
        np.testing.assert_array_equal(buffer.host, values * 10)
    assert counter("copies_done") == copies


def a_discrete_gpu_copies() -> None:
    there_and_back(copies=2)


def an_integrated_gpu_shares() -> None:
    os.environ["CUDA_INTEGRATED"] = "1"
    there_and_back(copies=0)
    assert counter("context_flags") == 4, "CU_CTX_SCHED_BLOCKING_SYNC: who waits for it sleeps"


def a_discrete_gpu_is_waited_for_awake() -> None:
    there_and_back(copies=2)
    assert counter("context_flags") == 0


def a_driver_that_keeps_its_flags() -> None:
    os.environ["CUDA_INTEGRATED"] = "1"
    os.environ["CUDA_FAILS"] = "cuDevicePrimaryCtxSetFlags_v2=1"
    there_and_back(copies=0)


def types_and_shapes() -> None:
    device = open_device()
    with device.current():
        labels, scalar = device.buffer((1, 100), "int64"), device.buffer((), "float32")
    assert labels.host.dtype == np.int64
    assert labels.host.shape == (1, 100)
    assert labels.host.flags.c_contiguous
    assert labels.host.flags.writeable
    assert scalar.host.shape == ()


def threads_share_buffers() -> None:
    """Made in one thread, used in a second, freed in a third: none of them keeps the context."""
    device = open_device()
    held: list[tuple[Buffer, object]] = []

    def make() -> None:
        with device.current():
            held.append((device.buffer((4,), "float32"), device.stream()))

    def use() -> None:
        with device.current():
            buffer, stream = held[0]
            buffer.host[:] = 1
            buffer.upload(stream)
            stream.synchronize()  # type: ignore[attr-defined]

    def free() -> None:
        with device.current():
            held.clear()

    in_a_thread(make)
    in_a_thread(use)
    assert (counter("live_buffers"), counter("live_streams")) == (2, 1)
    in_a_thread(free)
    assert (counter("live_buffers"), counter("live_streams")) == (0, 0)


def without_a_context_nothing_works() -> None:
    device = open_device()
    try:
        device.buffer((1,), "float32")
    except Exception as error:
        assert "context" in str(error)
    else:
        raise AssertionError("a buffer without a context")


def blocks_may_be_nested() -> None:
    device = open_device()
    with device.current(), device.current():
        device.buffer((1,), "float32")
    with device.current():
        device.buffer((1,), "float32")


def what_others_raise_is_left_alone() -> None:
    with raises(KeyError, "mine"), open_device().current():
        raise KeyError("mine")
    with open_device().current():
        pass


def full_memory() -> None:
    device = open_device()
    os.environ["CUDA_FAILS"] = "cuMemAlloc_v2=2"
    message = "the memory of Double is full: cuMemAlloc failed: out of memory: stop what"
    with raises(GpuMemoryError, message), device.current():
        device.buffer((1024,), "float32")
    del os.environ["CUDA_FAILS"]
    with device.current():
        device.buffer((1024,), "float32")


def a_refusal_that_spoils_nothing() -> None:
    device = open_device()
    os.environ["CUDA_FAILS"] = "cuStreamCreate=1"
    with raises(CudaError, "Double refused: cuStreamCreate failed"), device.current():
        device.stream()


def a_fault_is_final(code: int, words: str) -> None:
    device = open_device()
    with device.current():
        stream, buffer = device.stream(), device.buffer((1,), "float32")
    os.environ["CUDA_FAILS"] = f"cuStreamSynchronize={code}"
    message = f"Double failed: cuStreamSynchronize failed: {words}: the program must be started"
    with raises(GpuFaultError, message), device.current():
        buffer.upload(stream)
        stream.synchronize()
    del os.environ["CUDA_FAILS"]
    with raises(GpuFaultError, words), device.current():
        device.buffer((1,), "float32")


def an_illegal_address() -> None:
    a_fault_is_final(700, "an illegal memory access was encountered")


def a_failed_launch() -> None:
    a_fault_is_final(719, "unspecified launch failure")


def results_outlive_their_buffer() -> None:
    device = open_device()
    with device.current():
        buffer = device.buffer((3,), "float32")
        buffer.host[:] = 7
        result = buffer.host[1:]
        del buffer
    assert counter("live_buffers") == 1, "the GPU's side is gone, the CPU's is in use"
    assert result.tolist() == [7, 7]
    with device.current():
        del result
    assert counter("live_buffers") == 0


CASES = [
    the_gpu_is_told,
    no_device,
    a_context_that_cannot_be_had,
    one_context_for_all,
    the_context_is_given_back_at_the_end,
    a_discrete_gpu_copies,
    an_integrated_gpu_shares,
    a_discrete_gpu_is_waited_for_awake,
    a_driver_that_keeps_its_flags,
    types_and_shapes,
    threads_share_buffers,
    without_a_context_nothing_works,
    blocks_may_be_nested,
    what_others_raise_is_left_alone,
    full_memory,
    a_refusal_that_spoils_nothing,
    an_illegal_address,
    a_failed_launch,
    results_outlive_their_buffer,
]

if __name__ == "__main__":
    next(case for case in CASES if case.__name__ == sys.argv[1])()
    print("done")
