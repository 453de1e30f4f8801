"""Each network by itself, batch 1, on each runtime; CUDA graph off and on."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from edge.bundles.manifest import ModelEntry, ModelName, Precision
from edge.engines.store import Flags, Wanted, find_engine, read_engine
from edge.inference.engine import TensorRtEngine
from tests.gpu_check.driver import need_driver
from tests.gpu_check.figures import Figures
from tests.gpu_check.floor import board_of, network_floor
from tests.gpu_check.gpu import bench
from tests.gpu_check.places import bundle_of, engines_of
from tests.gpu_check.timing import by_the_clock, measured
from trt_build.engines.ensure import Workshop
from trt_build.engines.target import target_here


def tensorrt(figures: Figures, variant: str, network: ModelName, precision: Precision) -> None:
    """An engine of it, built here by the project's own builder, in the project's own runner."""
    gpu = bench()
    bundle, target = bundle_of(variant, precision), target_here()
    entry = bundle.manifest.models[network]
    if board := board_of(gpu.device.gpu.name):
        figures["floor"] = network_floor(bundle.model_path(network), board)
    started_s = time.monotonic()
    Workshop(bundle, engines_of(variant), target, Flags(), tell=print).ensure([network])
    figures["build_s"] = round(time.monotonic() - started_s, 1)
    path = find_engine(engines_of(variant), Wanted(network, precision, bundle.graph(network).sha256, target))
    plan = read_engine(path, target)
    figures["engine_bytes"] = len(plan)
    with gpu.device.current():
        engine = TensorRtEngine(path, entry.inputs, entry.outputs, plan=plan)
        specs = {**entry.inputs, **entry.outputs}
        buffers = {name: gpu.device.buffer(spec.shape, spec.dtype) for name, spec in specs.items()}
        engine.place({name: buffer.address for name, buffer in buffers.items()})

        def upload() -> None:
            for name in entry.inputs:
                buffers[name].upload(gpu.stream)

        def download() -> None:
            for name in entry.outputs:
                buffers[name].download(gpu.stream)

        def run() -> None:
            engine.enqueue(gpu.stream)

        for name, array in random_inputs(entry).items():
            buffers[name].host[...] = array
        upload()
        figures["graph_off"] = measured(gpu.by_events(run))
        with figures.going_on("CUDA graph"):
            figures["graph_on"] = measured(gpu.by_events(gpu.as_graph(run)))
        figures["upload"] = measured(gpu.by_events(upload), measured_s=0.2)
        figures["download"] = measured(gpu.by_events(download), measured_s=0.2)
        figures["not_finite"] = sum(int((~np.isfinite(buffers[name].host)).sum()) for name in entry.outputs)


def random_inputs(entry: ModelEntry) -> dict[str, Any]:
    """Pictures in 0..1, and a context vector as large as logits are."""
    rng = np.random.default_rng(0)
    return {
        name: rng.random(spec.shape, np.float32)
        if len(spec.shape) == 4
        else rng.normal(0, 2, spec.shape).astype(np.float32)
        for name, spec in entry.inputs.items()
    }


def onnxruntime_cuda(figures: Figures, variant: str, network: ModelName, precision: Precision) -> None:
    """ONNX Runtime's CUDA provider on the same graph, inputs and outputs in the GPU's memory; by the host's clock."""
    need_driver()
    bundle = bundle_of(variant, precision)
    entry, path = bundle.manifest.models[network], bundle.model_path(network)
    figures["clock"] = "host"
    for name, graph in (("graph_off", False), ("graph_on", True)):
        with figures.going_on(name):
            figures[name] = measured(by_the_clock(_onnxruntime_run(str(path), entry, graph=graph)))


def _onnxruntime_run(path: str, entry: ModelEntry, *, graph: bool) -> Callable[[], None]:
    onnxruntime = _onnxruntime()
    provider = "CUDAExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        raise RuntimeError(f"this ONNX Runtime ({onnxruntime.__version__}) has no {provider}")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        path, options, providers=[(provider, {"enable_cuda_graph": str(int(graph))})]
    )
    if session.get_providers()[0] != provider:
        raise RuntimeError(f"{provider} does not load here: its CUDA or cuDNN libraries are missing")
    binding = session.io_binding()
    ort_value = onnxruntime.OrtValue
    for name, array in random_inputs(entry).items():
        binding.bind_ortvalue_input(name, ort_value.ortvalue_from_numpy(array, "cuda", 0))
    for name, spec in entry.outputs.items():
        value = ort_value.ortvalue_from_shape_and_type(spec.shape, np.dtype(spec.dtype), "cuda", 0)
        binding.bind_ortvalue_output(name, value)
    return lambda: session.run_with_iobinding(binding)  # it waits for the GPU


def _onnxruntime() -> Any:
    """ONNX Runtime, once the CUDA libraries are loaded that PyTorch's packages bring: it looks beside itself only."""
    with suppress(ImportError):
        import torch  # noqa: F401
    import onnxruntime

    package = find_spec("nvidia")
    for folder in (package.submodule_search_locations or ()) if package else ():
        if hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls(directory=str(Path(folder).parent))
    return onnxruntime


def torch_eager(figures: Figures, variant: str, network: ModelName) -> None:
    """PyTorch's own operators in FP16."""
    _measure_torch(figures, variant, network, lambda module: module)


def torch_compiled(figures: Figures, variant: str, network: ModelName) -> None:
    """The same through PyTorch's compiler."""
    import torch

    started_s = time.monotonic()
    _measure_torch(figures, variant, network, lambda module: torch.compile(module, dynamic=False))
    figures["all_s"] = round(time.monotonic() - started_s, 1)


def _measure_torch(figures: Figures, variant: str, network: ModelName, made: Callable[[Any], Any]) -> None:
    import torch

    from tests.gpu_check.torch_merge import as_graph, by_events, torch_device

    need_driver()
    device = torch_device()
    entry = bundle_of(variant, "fp16").manifest.models[network]
    module = made(torch_network(variant, network, entry).to(device, torch.float16))
    inputs = [torch.from_numpy(array).to(device, torch.float16) for array in random_inputs(entry).values()]
    with torch.inference_mode():
        figures["graph_off"] = measured(by_events(device)(lambda: module(*inputs)))
        with figures.going_on("CUDA graph"):
            figures["graph_on"] = measured(by_events(device)(as_graph(lambda: module(*inputs))))


def torch_network(variant: str, network: ModelName, entry: ModelEntry) -> Any:
    """The network as PyTorch has it, of random weights, for the graph's sizes."""
    import torch

    from training.models.catalogue import build, build_context
    from training.models.efficientnet_lite import LITE0

    torch.manual_seed(0)
    if network == "context":
        return build_context(LITE0.name)
    labels = len(bundle_of(variant, "fp16").manifest.labels)
    return build(network, variant, labels=labels, input_size=entry.input_size).eval()
