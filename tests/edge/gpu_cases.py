"""The GPU's colourist and detector beside the CPU's: the real kernels and pycuda, on a driver of ours.

Each case runs in a process of its own::

    python -m tests.edge.gpu_cases CASE BUNDLE CUBINS     (the environment is that of tests/pycuda_runtime.py)
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from edge.bundles.bundle import Bundle, load_bundle
from edge.bundles.manifest import ModelName
from edge.engines.cubins import SOURCES, CubinError, read_cubin
from edge.engines.store import LoadedEngine
from edge.errors import BundleError
from edge.inference.cuda import CudaError, GpuFaultError, GpuMemoryError, open_device
from edge.inference.launches import Kernels
from edge.inference.onnx import OnnxRunner
from edge.inference.tensorrt import TensorRtError
from edge.kernels.base import MergeStyle
from edge.sections import ColourConfig
from edge.video.nv12 import from_luma
from edge.vision.cpu import CpuColourist, CpuDetector
from edge.vision.gpu.colour import GpuColourist
from edge.vision.gpu.detect import GpuDetector
from edge.vision.gpu.open import open_colourist, open_detector
from edge.vision.networks import Networks
from tests.edge.cuda_cases import counter, in_a_thread, raises

CALL = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
SIZE = (40, 56)
BUNDLE = CUBINS = Path()  # where they lie is said by whoever starts the process


class OnStream:
    """A CPU runner as a `GpuNetwork`: its run is put on the stream as a kernel would be.

    Attributes:
        spoil: becomes all of its floating-point outputs where it is not None.
        refuses: it takes no work, as TensorRT does at times.
    """

    def __init__(self, runner: OnnxRunner) -> None:
        self._runner = runner
        self.inputs, self.outputs = runner.inputs, runner.outputs
        self.spoil: float | None = None
        self.refuses = self.closed = False
        self._arrays: dict[str, Any] = {}
        self._call = CALL(self._run)
        self._put = ctypes.CDLL("libcuda.so.1").put_call
        self._put.argtypes = (ctypes.c_void_p, CALL, ctypes.c_void_p)

    def place(self, addresses: Mapping[str, int]) -> None:
        specs = self.inputs | self.outputs
        assert addresses.keys() == specs.keys()
        for name, address in addresses.items():
            pointer = ctypes.cast(address, ctypes.POINTER(np.ctypeslib.as_ctypes_type(specs[name].dtype)))
            self._arrays[name] = np.ctypeslib.as_array(pointer, specs[name].shape)

    def enqueue(self, stream: Any) -> None:
        if self.refuses:
            raise TensorRtError("TensorRT cannot run this engine: as told")
        assert self._put(stream.handle, self._call, None) == 0

    def _run(self, _: Any) -> None:
        found = self._runner.run({name: self._arrays[name] for name in self.inputs})
        for name, array in found.items():
            spoilt = self.spoil is not None and array.dtype == np.float32
            np.copyto(self._arrays[name], self.spoil if spoilt else array)

    def close(self) -> None:
        self.closed = True
        self._runner.close()


def bundle() -> Bundle:
    return load_bundle(BUNDLE)


def on_stream(name: ModelName) -> OnStream:
    model = bundle().manifest.models[name]
    return OnStream(OnnxRunner(bundle().model_path(name), model.inputs, model.outputs))


def kernels() -> Kernels:
    device = open_device()
    with device.current():
        return device.kernels((read_cubin(CUBINS, source, "8.7"), names) for source, names in SOURCES.items())


def colourist(
    smoothing: float = 0.8, style: MergeStyle | None = None
) -> tuple[GpuColourist, dict[ModelName, OnStream]]:
    networks: dict[ModelName, OnStream] = {"context": on_stream("context"), "colorizer": on_stream("colorizer")}
    models = bundle().manifest.models
    ours = GpuColourist(open_device(), kernels(), networks, models, smoothing=smoothing, style=style or MergeStyle())
    return ours, networks


def detector() -> tuple[GpuDetector, OnStream]:
    network = on_stream("recognizer")
    return GpuDetector(open_device(), kernels(), network, bundle().manifest), network


def cpu_colourist(**config: Any) -> CpuColourist:
    return CpuColourist(Networks(bundle(), ("context", "colorizer")), ColourConfig(**config))


def picture(number: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A gradient with a bright square that moves."""
    height, width = size
    luma = np.add.outer(np.arange(height) * 2, np.arange(width)).astype(np.uint8) % 150
    luma[4 : 4 + height // 3, 4 + 3 * number : 4 + 3 * number + width // 3] = 230
    return luma


def assert_same(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.shape == theirs.shape and ours.dtype == np.uint8 and ours.flags.c_contiguous
    assert np.abs(ours.astype(int) - theirs).max() <= 2, np.abs(ours.astype(int) - theirs).max()


def warnings_told() -> list[str]:
    """What the log is told from now on, which is not printed then."""
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    return told


def colours_like_the_cpu(smoothing: float, upsampling: str, sizes: list[tuple[int, int]]) -> None:
    ours, _ = colourist(smoothing, MergeStyle(upsampling=upsampling))
    theirs = cpu_colourist(smoothing=smoothing, upsampling=upsampling)
    for size in sizes:
        for each in (ours, theirs):
            each.renew_context(picture(0, size))
        for number in range(4):
            luma = picture(number, size)
            assert_same(ours.nv12(luma), theirs.nv12(luma))
        strided = np.repeat(np.repeat(picture(5, size), 2, axis=0), 3, axis=1)[::2, ::3]
        assert_same(ours.nv12(strided), theirs.nv12(strided))
    assert counter("graphs_launched") == 4 * len(sizes) - 1, "all but the first of a size, and of all"
    ours.close()


def frames_of_all_sizes() -> None:
    """Odd sizes, and each change of size."""
    colours_like_the_cpu(0.8, "nearest", [SIZE, (41, 57), (2, 2), SIZE])


def guided_upsampling() -> None:
    colours_like_the_cpu(0.8, "guided", [SIZE, (33, 65)])


def without_the_filter() -> None:
    """No frame goes on from the last."""
    ours, _ = colourist(0.0)
    theirs = cpu_colourist(smoothing=0.0)
    for each in (ours, theirs):
        each.renew_context(picture())
    for number in range(4):
        assert_same(ours.nv12(picture(number)), theirs.nv12(picture(number)))


def an_integrated_gpu_shares() -> None:
    os.environ["CUDA_INTEGRATED"] = "1"
    frames_of_all_sizes()


def grey_and_cells_like_the_cpu() -> None:
    """Between two frames, of whose filter they do not touch the past."""
    ours, _ = colourist()
    theirs = cpu_colourist(smoothing=0.8)
    for size in (SIZE, (41, 57), (2, 2)):
        for each in (ours, theirs):
            each.renew_context(picture(0, size))
        for number in range(4):
            luma = picture(number, size)
            assert_same(ours.nv12(luma), theirs.nv12(luma))
            assert ours.cells.shape == theirs.cells.shape and ours.cells.dtype == np.uint8
            assert np.abs(ours.cells.astype(int) - theirs.cells).max() <= 1
            np.testing.assert_array_equal(ours.grey(luma // 2), from_luma(luma // 2))


def a_collection_while_capturing() -> None:
    """What Python's garbage collector frees on the GPU would make the capture void."""
    ours, networks = colourist()
    ours.renew_context(picture())
    colorizer, device = networks["colorizer"], open_device()
    enqueue, told, freed = colorizer.enqueue, warnings_told(), []

    class Garbage:
        def __init__(self) -> None:
            self.itself, self.memory = self, device.memory(16)
            weakref.finalize(self, freed.append, 1)

    def littering(stream: Any) -> None:
        gc.set_threshold(1)
        [[[]] for _ in range(10)]
        enqueue(stream)

    gc.collect()
    gc.disable()
    ours.nv12(picture())
    ours.nv12(picture(1))
    with device.current():
        Garbage()
    colorizer.enqueue = littering  # type: ignore[method-assign]
    gc.set_threshold(0)
    gc.enable()
    ours.nv12(picture(2))
    assert told == [], told
    assert gc.isenabled()
    [[[]] for _ in range(10)]
    assert freed, "it was garbage"
    assert counter("graphs_launched") == 1


def the_context_is_of_its_scene() -> None:
    ours, _ = colourist()
    theirs = cpu_colourist(smoothing=0.8)
    pictures = []
    for value in (20, 200):
        scene = np.full(SIZE, value, np.uint8)
        for each in (ours, theirs):
            each.renew_context(scene)
            each.forget()
        pictures.append(ours.nv12(picture()))
        assert_same(pictures[-1], theirs.nv12(picture()))
    assert (pictures[0] != pictures[1]).any()


def forgetting_starts_anew() -> None:
    ours, _ = colourist()
    ours.renew_context(picture())
    first = ours.nv12(picture())
    for number in range(3):
        filtered = ours.nv12(picture(number) // 4)
    ours.forget()
    np.testing.assert_array_equal(ours.nv12(picture()), first)
    ours.forget()
    assert (ours.nv12(picture(2) // 4) != filtered).any(), "the filter did something"


def the_steady_state() -> None:
    """A frame costs one launch of a graph, one wait, two copies of frames and two of cells; nothing is allocated."""
    ours, _ = colourist()
    ours.renew_context(picture())
    for number in range(3):
        ours.nv12(picture(number))
    names = ("graphs_launched", "synchronised", "copies_done", "allocations")
    before = [counter(name) for name in names]
    ours.nv12(picture(4))
    assert [counter(name) - value for name, value in zip(names, before, strict=True)] == [1, 1, 4, 0]


def another_size_takes_the_place_of_the_last() -> None:
    ours, _ = colourist()
    finds, _ = detector()
    gc.disable()
    counts = []
    for size in (SIZE, (64, 64), (30, 20), SIZE):
        ours.renew_context(picture(0, size))
        for number in range(3):
            ours.nv12(picture(number, size))
            finds.detect(picture(number, size))
        counts.append([counter("live_buffers"), counter("live_graphs")])
    assert counts == [counts[0]] * 4


def chroma_that_is_not_finite() -> None:
    ours, networks = colourist()
    ours.renew_context(picture())
    first = ours.nv12(picture())
    for count, value in enumerate((np.nan, np.inf, -np.inf), 1):
        ours.nv12(picture(1))
        ours.nv12(picture(2))
        networks["colorizer"].spoil = value
        assert_same(ours.nv12(picture(3)), from_luma(picture(3)))
        assert ours.grey_frames == count
        networks["colorizer"].spoil = None
        np.testing.assert_array_equal(ours.nv12(picture()), first, "the filter starts anew")
    assert ours.grey_frames == 3
    assert counter("graphs_launched") >= 3


def without_the_filter_too() -> None:
    ours, networks = colourist(0.0)
    ours.renew_context(picture())
    networks["colorizer"].spoil = np.nan
    for _ in range(3):
        assert_same(ours.nv12(picture()), from_luma(picture()))
    assert ours.grey_frames == 3


def capture_that_fails(function: str, code: int) -> None:
    ours, _ = colourist()
    theirs = cpu_colourist(smoothing=0.8)
    told = warnings_told()
    os.environ["CUDA_FAILS"] = f"{function}={code}"
    for each in (ours, theirs):
        each.renew_context(picture())
    for number in range(5):
        assert_same(ours.nv12(picture(number)), theirs.nv12(picture(number)))
    del os.environ["CUDA_FAILS"]
    assert len(told) == 1
    assert told[0].startswith("no CUDA graph of colour at 56x40: ")
    assert told[0].endswith("; its kernels are launched one by one")
    assert counter("graphs_launched") == 0
    ours.close()
    assert counter("live_graphs") == 0


def capture_that_does_not_begin() -> None:
    capture_that_fails("cuStreamBeginCapture_v2", 801)


def capture_that_does_not_end() -> None:
    capture_that_fails("cuStreamEndCapture", 901)


def a_graph_that_does_not_fit() -> None:
    capture_that_fails("cuGraphInstantiateWithFlags", 2)


def a_network_that_cannot_be_captured() -> None:
    """As one that allocates in each run."""
    ours, networks = colourist()
    theirs = cpu_colourist(smoothing=0.8)
    colorizer, device = networks["colorizer"], open_device()
    enqueue = colorizer.enqueue

    def allocating(stream: Any) -> None:
        device.memory(16)
        enqueue(stream)

    colorizer.enqueue = allocating  # type: ignore[method-assign]
    told = warnings_told()
    for each in (ours, theirs):
        each.renew_context(picture())
    for number in range(4):
        assert_same(ours.nv12(picture(number)), theirs.nv12(picture(number)))
    assert len(told) == 1
    assert "operation not permitted when stream is capturing" in told[0]
    assert counter("graphs_launched") == 0
    assert counter("live_graphs") == 0


def a_network_that_refuses() -> None:
    ours, networks = colourist()
    ours.renew_context(picture())
    first = ours.nv12(picture())
    ours.nv12(picture(2) + 5)
    told = warnings_told()
    networks["colorizer"].refuses = True
    with raises(TensorRtError, "TensorRT cannot run this engine"):
        ours.nv12(picture(1))
    networks["colorizer"].refuses = False
    assert len(told) == 1, "it was the frame that is captured"
    np.testing.assert_array_equal(ours.nv12(picture()), first, "the filter starts anew")
    ours.nv12(picture(1))
    assert counter("graphs_launched") == 1, "it is captured after all"


def full_memory() -> None:
    """At the opening, and at a frame of a new size."""
    open_device()
    os.environ["CUDA_FAILS"] = "cuMemAlloc_v2=2"
    with raises(GpuMemoryError, "the memory of Double is full"):
        colourist()
    gc.collect()
    assert (counter("live_buffers"), counter("live_streams"), counter("live_modules")) == (0, 0, 0)
    del os.environ["CUDA_FAILS"]
    ours, _ = colourist()
    ours.renew_context(picture())
    first = ours.nv12(picture())
    os.environ["CUDA_FAILS"] = "cuMemAlloc_v2=2"
    with raises(GpuMemoryError, "the memory of Double is full"):
        ours.nv12(picture(0, (64, 64)))
    del os.environ["CUDA_FAILS"]
    ours.forget()
    np.testing.assert_array_equal(ours.nv12(picture()), first)


def a_fault(function: str, number: int) -> None:
    ours, networks = colourist()
    ours.renew_context(picture())
    for index in range(number):
        ours.nv12(picture(index))
    os.environ["CUDA_FAILS"] = f"{function}=700"
    with raises(GpuFaultError, "Double failed: .*illegal memory access.*: the program must be started again"):
        ours.nv12(picture())
    del os.environ["CUDA_FAILS"]
    with raises(GpuFaultError, "illegal memory access"):
        ours.nv12(picture())
    with suppress(GpuFaultError):
        ours.close()
    assert all(network.closed for network in networks.values())


def a_fault_in_a_kernel() -> None:
    a_fault("cuLaunchKernel", 0)


def a_fault_in_a_capture() -> None:
    a_fault("cuGraphInstantiateWithFlags", 2)


def a_fault_in_a_graph() -> None:
    a_fault("cuGraphLaunch", 4)


def a_fault_while_waiting() -> None:
    a_fault("cuStreamSynchronize", 4)


def order_of_calls() -> None:
    ours, _ = colourist()
    with raises(ValueError, "renew_context comes first"):
        ours.nv12(picture())
    ours.close()
    ours.close()
    for call in (ours.nv12, ours.renew_context):
        with raises(ValueError, "closed"):
            call(picture())
    finds, _ = detector()
    finds.close()
    finds.close()
    with raises(ValueError, "closed"):
        finds.detect(picture())


def closing_frees_all() -> None:
    ours, colours = colourist()
    finds, recognizer = detector()
    ours.renew_context(picture())
    for number in range(3):
        ours.nv12(picture(number))
        finds.detect(picture(number))
    ours.close()
    finds.close()
    assert [counter(name) for name in ("live_buffers", "live_streams", "live_graphs")] == [0, 0, 0]
    assert recognizer.closed and all(network.closed for network in colours.values())
    del ours, finds, colours, recognizer
    gc.collect()
    names = ("live_buffers", "live_streams", "live_graphs", "live_modules")
    assert [counter(name) for name in names] == [0, 0, 0, 0]


def detects_like_the_cpu() -> None:
    ours, _ = detector()
    theirs = CpuDetector(Networks(bundle(), ("recognizer",)))
    assert ours.labels == theirs.labels
    for size in (SIZE, (57, 41), (400, 650)):
        for number in range(4):
            luma = picture(number, size)
            found, expected = ours.detect(luma), theirs.detect(luma)
            assert len(found) == len(expected) == 2
            np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-3)
            np.testing.assert_array_equal(found.labels, expected.labels)
            np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-6)
        dark = np.zeros(size, np.uint8)
        assert len(ours.detect(dark)) == len(theirs.detect(dark)) == 1
        assert len(ours.detect(luma, min_score=0.5)) == 1
    assert counter("graphs_launched") == 3 * 5


def detections_outlive_the_next() -> None:
    ours, _ = detector()
    found = ours.detect(picture(0))
    boxes = found.boxes.copy()
    ours.detect(picture(4))
    np.testing.assert_array_equal(found.boxes, boxes)


def boxes_that_are_not_finite() -> None:
    ours, network = detector()
    network.spoil = np.nan
    assert len(ours.detect(picture())) == 0


def a_label_that_is_not_there() -> None:
    ours, _ = detector()
    ours._manifest = ours._manifest.model_copy(update={"labels": ("cat",)})
    with raises(BundleError, "tells label 1 of 1"):
        ours.detect(picture())


def two_lanes() -> None:
    """Each in a thread of its own, and their graphs are captured while the other works."""
    ours, _ = colourist()
    finds, _ = detector()
    theirs = cpu_colourist(smoothing=0.8)
    theirs.renew_context(picture())  # now: OpenVINO's very first runs may lock each other out for ever in two threads
    expected = [theirs.nv12(picture(number)) for number in range(6)]
    pictures, found = [], []

    def colour() -> None:
        ours.renew_context(picture())
        pictures.extend(ours.nv12(picture(number)) for number in range(6))

    def detect() -> None:
        found.extend(len(finds.detect(picture(number))) for number in range(6))

    thread = threading.Thread(target=lambda: in_a_thread(detect))
    thread.start()
    in_a_thread(colour)
    thread.join()
    for nv12, wanted in zip(pictures, expected, strict=True):
        assert_same(nv12, wanted)
    assert found == [2] * 6


def an_error_while_another_thread_captures() -> None:
    """A refusal is no fault, although a context with a capture under way cannot be waited for."""
    device = open_device()
    with device.current():
        stream = device.stream()
    capturing, refused = threading.Event(), threading.Event()  # it is told after the capture
    errors: list[BaseException] = []

    def refuse() -> None:
        capturing.wait()
        try:
            with device.current():
                device.kernels([(b"no cubin" * 100, [])])
        except Exception as error:
            errors.append(error)
        refused.set()

    def work() -> None:
        capturing.set()
        refused.wait(0.3)

    thread = threading.Thread(target=refuse)
    thread.start()
    with device.current():
        device.captured(stream, work)
    thread.join()
    assert [type(error) for error in errors] == [CudaError]


def without_cubins() -> None:
    """A unit that was updated: its engines fit, its kernels are not compiled yet."""
    message = "lab_merge.sm_87.json: the GPU's kernels were not compiled for this machine: run tapetum-build ensure"
    engine = LoadedEngine(Path("context.engine"), b"")
    with raises(CubinError, message):
        open_colourist(bundle(), {"context": engine, "colorizer": engine}, BUNDLE, smoothing=0.0)
    with raises(CubinError, message):
        open_detector(bundle(), engine, BUNDLE)


def what_is_no_cubin() -> None:
    device = open_device()
    with (
        raises(CudaError, "Double refused: cuModuleLoadData.* failed: device kernel image is invalid"),
        device.current(),
    ):
        device.kernels([(b"no cubin" * 100, ["tapetum_merge_nearest"])])
    code = read_cubin(CUBINS, next(iter(SOURCES)), "8.7")
    with raises(CudaError, "Double refused: cuModuleGetFunction failed: named symbol not found"), device.current():
        device.kernels([(code, ["tapetum_merge_nearest", "tapetum_of_tomorrow"])])


CASES: list[Callable[[], None]] = [
    frames_of_all_sizes,
    guided_upsampling,
    without_the_filter,
    an_integrated_gpu_shares,
    grey_and_cells_like_the_cpu,
    a_collection_while_capturing,
    the_context_is_of_its_scene,
    forgetting_starts_anew,
    the_steady_state,
    another_size_takes_the_place_of_the_last,
    chroma_that_is_not_finite,
    without_the_filter_too,
    capture_that_does_not_begin,
    capture_that_does_not_end,
    a_graph_that_does_not_fit,
    a_network_that_cannot_be_captured,
    a_network_that_refuses,
    full_memory,
    a_fault_in_a_kernel,
    a_fault_in_a_capture,
    a_fault_in_a_graph,
    a_fault_while_waiting,
    order_of_calls,
    closing_frees_all,
    detects_like_the_cpu,
    detections_outlive_the_next,
    boxes_that_are_not_finite,
    a_label_that_is_not_there,
    two_lanes,
    an_error_while_another_thread_captures,
    without_cubins,
    what_is_no_cubin,
]

if __name__ == "__main__":
    BUNDLE, CUBINS = map(Path, sys.argv[2:])
    next(case for case in CASES if case.__name__ == sys.argv[1])()
    print("done")
