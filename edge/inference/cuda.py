"""CUDA, by pycuda. The only file that imports pycuda.

pycuda cannot even be imported where NVIDIA's driver is missing, so it is imported when a GPU is asked for.

Errors::

    CudaError
    ├── NoGpuError       no GPU, no driver, or no pycuda
    ├── GpuMemoryError   nothing is broken; less may fit
    └── GpuFaultError    nothing works on this GPU any more in this process
"""

from __future__ import annotations

import atexit
import functools
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.errors import TapetumError
from edge.inference.device_memory import Buffer
from edge.inference.launches import Graph, Kernels, capture
from edge.inference.libcuda import wait_asleep

log = logging.getLogger(__name__)

# What the driver makes for a discrete GPU, and the board's own driver on Orin and on Thor.
DEVICE_NODES = (Path("/dev/nvidiactl"), Path("/dev/nvhost-gpu"), Path("/dev/nvgpu"))

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING, which pycuda has no name for: no waiting for the legacy default stream


class CudaError(TapetumError):
    """A call to the GPU's driver failed."""


class NoGpuError(CudaError):
    """There is no GPU that CUDA can use; the text says why, and the cure."""


class GpuMemoryError(CudaError):
    """The GPU's memory does not hold what was asked for."""


class GpuFaultError(CudaError):
    """A kernel faulted or the GPU failed: the context is spoilt, and only a new process gets another."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """The GPU of this machine.

    Attributes:
        compute_capability: its architecture, "8.7" for Orin.
        integrated: whether it shares the CPU's memory, as on a Jetson.
        driver: newest CUDA that the installed driver runs, "12.6".
        memory_bytes: all of its memory, in use or not.
    """

    name: str
    compute_capability: str
    integrated: bool
    driver: str
    memory_bytes: int


def find_gpu() -> Gpu | None:
    """The first GPU that CUDA shows; None, with the reason logged, where there is none."""
    try:
        return need_gpu()
    except NoGpuError as error:
        log.info("%s", error)
        return None


def need_gpu() -> Gpu:
    """The first GPU that CUDA shows.

    Raises:
        NoGpuError: there is none, or pycuda or the driver is missing or too old.
    """
    driver = _load_pycuda()
    try:
        driver.init()
        device = driver.Device(0)
        major, minor = device.compute_capability()
        return Gpu(
            name=device.name(),
            compute_capability=f"{major}.{minor}",
            integrated=bool(device.get_attribute(driver.device_attribute.INTEGRATED)),
            driver=_version(driver.get_driver_version()),
            memory_bytes=int(device.total_memory()),
        )
    except driver.Error as error:
        raise NoGpuError(
            f"no GPU that CUDA can use: {error}: see whether the driver is loaded (nvidia-smi), "
            "and in a container whether it was given the GPU"
        ) from error


def open_device() -> Device:
    """The GPU, ready for work: one for the process, from any thread.

    Raises:
        NoGpuError: see `need_gpu`.
        CudaError: its context cannot be had.
    """
    with _OPENING:
        return _open_device()


_OPENING = threading.Lock()


@functools.cache
def _open_device() -> Device:
    gpu, driver = need_gpu(), _load_pycuda()
    try:
        if gpu.integrated:  # a field unit: its few cores have other work, and its battery none for spinning
            with suppress(driver.Error):
                wait_asleep(driver, 0)
        context = driver.Device(0).retain_primary_context()
    except driver.Error as error:
        raise CudaError(f"the GPU {gpu.name} cannot be used: {error}: see what else uses it, or restart") from error
    atexit.register(context.detach)  # by itself pycuda would release it as a context of another kind
    return Device(gpu, driver, context)


class Device:
    """The GPU's primary context: the one that TensorRT uses too. It lasts as long as the process."""

    def __init__(self, gpu: Gpu, driver: Any, context: Any) -> None:
        self.gpu = gpu
        self._driver = driver
        self._context = context
        self._watching = threading.RLock()

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the context this thread's within the block; a thread that Python did not start has none.

        Everything of this module is made, used and freed within such a block.

        Raises:
            CudaError: what pycuda raises within the block, explained. After a GpuFaultError the process must end.
        """
        try:
            self._context.push()
            try:
                yield
            finally:
                self._context.pop()
        except self._driver.Error as error:
            raise self._explained(error) from error

    def stream(self) -> Any:
        """A new stream: `handle` is its address, `synchronize()` waits for all that was put on it."""
        return self._driver.Stream(_NON_BLOCKING)

    def buffer(self, shape: tuple[int, ...], dtype: str, *, mapped: bool = False) -> Buffer:
        """Memory of one array on both sides; `mapped`: of a few bytes, which are not worth a copy of their own."""
        return Buffer(self._driver, shape, dtype, mapped=mapped or self.gpu.integrated)

    def memory(self, size_bytes: int) -> Any:
        """Memory of the GPU alone, of any content. `int()` of it is its address, aligned to 256 bytes at least."""
        return self._driver.mem_alloc(size_bytes)

    def copy(self, target: int, source: int, size_bytes: int, stream: Any) -> None:
        """Put a copy within the GPU's memory on a stream."""
        self._driver.memcpy_dtod_async(target, source, size_bytes, stream)

    def kernels(self, cubins: Iterable[tuple[bytes, Iterable[str]]]) -> Kernels:
        """Load machine code of this GPU's architecture, from `edge.engines.cubins`, with its kernels' names."""
        return Kernels(self._driver, cubins)

    def captured(self, stream: Any, work: Callable[[], None]) -> Graph:
        """What `work` puts on a stream, as one CUDA graph; nothing of it runs yet.

        Raises:
            TapetumError: what `work` raises, or the driver does not let it be captured. The stream is as before.
        """
        with self._watching, self.current():
            return capture(self._driver, stream, work)

    def _explained(self, error: Exception) -> CudaError:
        if isinstance(error, self._driver.MemoryError):
            return GpuMemoryError(
                f"the memory of {self.gpu.name} is full: {error}: stop what else uses it, or take a smaller precision"
            )
        if self._is_spoilt():
            return GpuFaultError(f"{self.gpu.name} failed: {error}: the program must be started again")
        return CudaError(f"{self.gpu.name} refused: {error}")

    def _is_spoilt(self) -> bool:
        """After a fault whatever is asked of the context fails, also to wait for nothing.

        So it does while a stream of any thread is captured, hence the lock.
        """
        with self._watching:
            return self._fails()

    def _fails(self) -> bool:
        try:
            self._context.push()
            try:
                self._context.synchronize()
            finally:
                self._context.pop()
        except self._driver.Error:
            return True
        return False


def _load_pycuda() -> Any:
    """pycuda's driver module.

    Raises:
        NoGpuError: not installed, or it cannot be loaded.
    """
    try:
        import pycuda.driver
    except ModuleNotFoundError as error:
        raise NoGpuError(_without((error.name or "pycuda").partition(".")[0])) from error
    except ImportError as error:  # it is linked to libcuda.so.1
        raise NoGpuError(
            f"pycuda cannot be loaded: {error}: install NVIDIA's driver, or build pycuda again"
        ) from error
    return pycuda.driver


def _without(package: str) -> str:
    node = next((node for node in DEVICE_NODES if node.exists()), None)
    if node is None:
        return "no NVIDIA GPU in this machine"
    return f"a GPU is here ({node}), but the package {package} is not: pip install 'tapetum[jetson]'"


def _version(number: int) -> str:
    """CUDA's own number, 12060, as people write it: 12.6."""
    return f"{number // 1000}.{number % 1000 // 10}"
