"""Networks on the GPU: TensorRT engines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edge.engines.store import EngineError
from edge.errors import TapetumError
from edge.inference.base import Array, Runner, Specs, check_declared
from edge.inference.cuda import open_device
from edge.inference.device_memory import Buffer
from edge.inference.tensorrt import (
    TensorRtError,
    collected_errors,
    load_tensorrt,
    tensorrt_logger,
    tensorrt_version,
    told,
)

BUILD_AGAIN = "run tapetum-build ensure"
RUN_AGAIN = "start the program again; if that does not help, run tapetum-build ensure"


class GpuNetwork(Protocol):
    """A network on the GPU whose tensors lie where they are told: for `edge.vision.gpu`.

    `TensorRtEngine` is one. Tests without a GPU lend a CPU runner this interface.
    """

    def place(self, addresses: Mapping[str, int]) -> None:
        """Say where each input and output lies in the GPU's memory, whole and contiguous, until the next call."""

    def enqueue(self, stream: Any) -> None:
        """Put one run on a stream."""

    def close(self) -> None:
        """Free it. May be called again."""


class TensorRtEngine:
    """An engine on the GPU, with its weights and its scratch; its inputs and outputs belong to others.

    Any thread may use it, one at a time, within `Device.current()`.
    """

    def __init__(self, engine: Path, inputs: Specs, outputs: Specs, *, plan: bytes | None = None) -> None:
        """Load an engine.

        A plan is executable code: give only what `edge.engines.store` found fit for this machine and whole.

        Args:
            engine: the file.
            inputs, outputs: what the manifest declares.
            plan: the file's content, as `edge.engines.store.read_engine` gives it.

        Raises:
            EngineError: it cannot be read, or is of another TensorRT or GPU, or cut short.
            BundleError: its tensors are not what the manifest declares.
            CudaError: no GPU, or its memory is full.
            TensorRtError: TensorRT is missing or does not work with this driver.
        """
        self.inputs, self.outputs = dict(inputs), dict(outputs)
        self._path = engine
        self._device = open_device()
        self._runtime: Any = None
        self._engine: Any = None
        self._execution: Any = None
        with self._device.current():
            try:
                self._load(_read(engine) if plan is None else plan)
            except BaseException:
                self._free()
                raise

    def _load(self, plan: bytes) -> None:
        trt, path = load_tensorrt(), self._path
        self._runtime = trt.Runtime(tensorrt_logger())
        self._engine = _deserialize(self._runtime, path, plan)
        tensors = _tensors(self._engine)
        check_declared(str(path), "inputs", self.inputs, tensors["INPUT"], BUILD_AGAIN)
        check_declared(str(path), "outputs", self.outputs, tensors["OUTPUT"], BUILD_AGAIN)
        with collected_errors() as errors:
            self._execution = self._engine.create_execution_context()
        if self._execution is None:
            raise EngineError(path, f"TensorRT cannot prepare this engine: {told(errors)}")

    def place(self, addresses: Mapping[str, int]) -> None:
        """See `GpuNetwork`.

        Raises:
            EngineError: TensorRT does not take an address.
        """
        with collected_errors() as errors:
            if all(self._execution.set_tensor_address(name, address) for name, address in addresses.items()):
                return
        raise EngineError(self._path, f"TensorRT cannot prepare this engine: {told(errors)}")

    def enqueue(self, stream: Any) -> None:
        """See `GpuNetwork`.

        Raises:
            TensorRtError: TensorRT refuses. Where a fault of the GPU is the reason, waiting for the stream tells it.
        """
        with collected_errors() as errors:
            if self._execution.execute_async_v3(stream.handle):
                return
        # No EngineError: at its exit code, 4, systemd would give up a unit whose engine has run before.
        raise TensorRtError(f"{self._path}: TensorRT cannot run this engine: {told(errors)}: {RUN_AGAIN}")

    def close(self) -> None:
        """Free it. May be called again."""
        if self._runtime is not None:
            with self._device.current():
                self._free()

    def _free(self) -> None:
        """Let go of all, in the order in which one needs the other."""
        self._execution = None
        self._engine = None
        self._runtime = None


class TensorRtRunner(Runner):
    """An engine and memory of its own, allocated when it is loaded. One `run` waits for the GPU once.

    Any thread may run it, one at a time.
    """

    def __init__(self, engine: Path, inputs: Specs, outputs: Specs, *, plan: bytes | None = None) -> None:
        """Load an engine. Arguments and errors are those of `TensorRtEngine`."""
        super().__init__(inputs, outputs)
        self._device = open_device()
        self._loaded = TensorRtEngine(engine, inputs, outputs, plan=plan)
        self._buffers: dict[str, Buffer] = {}
        self._stream: Any = None
        try:
            self._allocate()
        except BaseException:
            self.close()
            raise

    def _allocate(self) -> None:
        with self._device.current():
            self._stream = self._device.stream()
            for name, spec in (*self.inputs.items(), *self.outputs.items()):
                self._buffers[name] = self._device.buffer(spec.shape, spec.dtype)
            self._loaded.place({name: buffer.address for name, buffer in self._buffers.items()})

    def _run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        if not self._buffers:
            raise ValueError("the runner is closed")
        with self._device.current():
            for name, array in arrays.items():
                np.copyto(self._buffers[name].host, array)
                self._buffers[name].upload(self._stream)
            try:
                self._loaded.enqueue(self._stream)
            except TensorRtError:
                self._stream.synchronize()
                raise
            for name in self.outputs:
                self._buffers[name].download(self._stream)
            self._stream.synchronize()
        return {name: self._buffers[name].host for name in self.outputs}

    def close(self) -> None:
        self._loaded.close()
        with self._device.current():
            self._buffers.clear()
            self._stream = None


def _read(engine: Path) -> bytes:
    try:
        return engine.read_bytes()
    except OSError as error:
        raise EngineError(engine, f"cannot read the engine: {error.strerror}") from error


def _deserialize(runtime: Any, path: Path, plan: bytes) -> Any:
    with collected_errors() as errors:
        engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise refusal(path, errors)
    return engine


def refusal(path: Path, errors: list[str]) -> TapetumError:
    """Why TensorRT did not load an engine, from what it told."""
    if any("driver version is insufficient" in error for error in errors):
        return TensorRtError(f"NVIDIA's driver is too old for TensorRT {tensorrt_version()}: install a newer driver")
    return EngineError(path, f"TensorRT {tensorrt_version()} cannot load this engine here: {told(errors)}")


_DTYPES = {"FLOAT": "float32", "INT64": "int64"}


def _tensors(engine: Any) -> dict[str, dict[str, str]]:
    """The engine's own tensors: INPUT or OUTPUT -> name -> "dtype[shape]"; ? stands for a size that is not fixed."""
    tensors: dict[str, dict[str, str]] = {"INPUT": {}, "OUTPUT": {}}
    for name in map(engine.get_tensor_name, range(engine.num_io_tensors)):
        dtype = engine.get_tensor_dtype(name).name
        sizes = ("?" if size < 0 else str(size) for size in engine.get_tensor_shape(name))
        mode = engine.get_tensor_mode(name).name
        tensors[mode][name] = f"{_DTYPES.get(dtype, dtype.lower())}[{', '.join(sizes)}]"
    return tensors
