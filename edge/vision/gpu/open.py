"""Colourist and detector of a bundle, from engines and cubins that fit this machine."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from edge.bundles.bundle import Bundle
from edge.bundles.manifest import ModelName
from edge.engines.cubins import SOURCES, read_cubin
from edge.engines.store import LoadedEngine
from edge.inference.cuda import Device, open_device
from edge.inference.engine import GpuNetwork, TensorRtEngine
from edge.inference.launches import Kernels
from edge.kernels.base import PAPER, MergeStyle
from edge.vision.gpu.colour import GpuColourist
from edge.vision.gpu.detect import GpuDetector


def open_colourist(
    bundle: Bundle,
    engines: Mapping[ModelName, LoadedEngine],
    folder: Path,
    *,
    smoothing: float,
    style: MergeStyle = PAPER,
) -> GpuColourist:
    """Open what colours.

    Args:
        engines: of context and colorizer.
        folder: where the cubins lie.
        smoothing: of the chroma filter, 0 (off) to below 1.

    Raises:
        EngineError: TensorRT does not take an engine, or a cubin (CubinError) does not fit: `edge.engines.cubins`.
        BundleError: an engine's tensors are not what the manifest declares.
        CudaError: no GPU, or its memory is full.
        TensorRtError: TensorRT is missing or does not work with this driver.
    """
    device, models = open_device(), bundle.manifest.models
    with ExitStack() as opening:
        kernels = _kernels(device, folder)
        names: tuple[ModelName, ...] = ("context", "colorizer")
        networks = {name: _network(bundle, name, engines[name], opening) for name in names}
        colourist = GpuColourist(device, kernels, networks, models, smoothing=smoothing, style=style)
        opening.pop_all()
    return colourist


def open_detector(bundle: Bundle, engine: LoadedEngine, folder: Path) -> GpuDetector:
    """Open what detects. Arguments and errors are those of `open_colourist`."""
    device = open_device()
    with ExitStack() as opening:
        kernels = _kernels(device, folder)
        detector = GpuDetector(device, kernels, _network(bundle, "recognizer", engine, opening), bundle.manifest)
        opening.pop_all()
    return detector


def _kernels(device: Device, folder: Path) -> Kernels:
    capability = device.gpu.compute_capability
    with device.current():
        return device.kernels((read_cubin(folder, source, capability), names) for source, names in SOURCES.items())


def _network(bundle: Bundle, name: ModelName, engine: LoadedEngine, opening: ExitStack) -> GpuNetwork:
    model = bundle.manifest.models[name]
    network = TensorRtEngine(engine.path, model.inputs, model.outputs, plan=engine.plan)
    opening.callback(network.close)
    return network
