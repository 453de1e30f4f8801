"""A bundle's engines on this machine against its graphs, on frames."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from edge.bundles.bundle import Bundle, check_graph
from edge.bundles.manifest import MODEL_NAMES, ModelEntry, ModelName, Precision
from edge.engines.store import Target, Wanted, find_engine, read_engine
from edge.errors import InputError
from edge.inference.base import Array, Runner
from edge.inference.engine import TensorRtRunner
from edge.media import read_still
from edge.types import Float32Array, UInt8Array
from trt_build.graphs import network_input
from trt_build.verification.compare import Comparison, Sample, verify_engine
from trt_build.verification.limits import FINITE
from trt_build.verification.reference import ReferenceRunner

log = logging.getLogger(__name__)

Open = Callable[[ModelName], Runner]


def engines_here(bundle: Bundle, folder: Path, target: Target) -> Open:
    """Opens the engines that fit this machine.

    Opening raises:
        EngineError: there is none that fits, or it cannot be loaded.
        CudaError: the GPU does not let it.
    """

    def open_engine(model: ModelName) -> Runner:
        entry, precision = bundle.manifest.models[model], bundle.precision_of(model)
        engine = find_engine(folder, Wanted(model, precision, bundle.graph(model).sha256, target))
        return TensorRtRunner(engine, entry.inputs, entry.outputs, plan=read_engine(engine, target))

    return open_engine


def verify_bundle(
    bundle: Bundle, open_engine: Open, frames: Sequence[Path], reference: Precision | None = None
) -> Iterator[Comparison]:
    """Compare network by network; frames that cannot be read are told and left out.

    Args:
        reference: the precision to compare with, to see what another one costs: no limits then, but finite answers.
            None is the engine's own.

    Raises:
        InputError: none of the frames can be read.
        TapetumError: an engine or a graph cannot be opened.
    """
    for model in MODEL_NAMES:
        with (
            open_engine(model) as engine,
            open_reference(bundle, model, reference) as judge,
            open_reference(bundle, "context", reference) as context,
        ):
            samples = tqdm(_samples(bundle, model, context, frames), model, len(frames), leave=False, disable=None)
            precision = bundle.precision_of(model)
            limits = None if reference in (None, precision) else (FINITE,)
            comparison = verify_engine(model, precision, engine, judge, samples, limits)
        if not comparison.frames:
            raise InputError(f"none of {len(frames)} frames can be read: give others")
        yield comparison


def open_reference(bundle: Bundle, model: ModelName, precision: Precision | None = None) -> Runner:
    """ONNX Runtime on a network's graph; None is the precision that the bundle was loaded for.

    Raises:
        BundleError: the graph is missing, altered or cannot be run.
    """
    entry = bundle.manifest.models[model]
    check_graph(bundle.folder, bundle.graph(model, precision))
    return ReferenceRunner(bundle.model_path(model, precision), entry.inputs, entry.outputs)


def sample(bundle: Bundle, model: ModelName, context: Runner, path: Path, luma: UInt8Array) -> Sample:
    """What a network is fed of a frame uint8[H, W]. Its context vector comes from `context`, whoever is judged."""
    entries = bundle.manifest.models
    image = picture(entries[model], luma)
    arrays: dict[str, Array] = {name: image for name, spec in entries[model].inputs.items() if len(spec.shape) == 4}
    if model == "colorizer":
        arrays |= context.run({"luma": picture(entries["context"], luma)})
    return Sample(path, luma, arrays)


def _samples(bundle: Bundle, model: ModelName, context: Runner, frames: Sequence[Path]) -> Iterator[Sample]:
    for path in frames:
        try:
            yield sample(bundle, model, context, path, read_still(path))
        except InputError as error:
            log.warning("%s: left out", error)


def picture(entry: ModelEntry, luma: UInt8Array) -> Float32Array:
    """A frame uint8[H, W] as the network takes it, float32[1, 1, h, w]."""
    return network_input(entry.preprocessing, luma, entry.input_size)
