"""What a precision of a network costs on this machine: bytes, and the time of one frame on one thread."""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np

from edge.bundles.bundle import Bundle
from edge.bundles.manifest import Cost, ModelName, Precision
from edge.inference.base import Array
from edge.station import machine
from edge.types import UInt8Array
from trt_build.graphs import network_input
from trt_build.judging.figures import WatchedRunner

WARM_UP = 2
LEAST_RUNS, MOST_RUNS = 5, 50
ENOUGH_S = 3.0

Feed = dict[str, Array]


def measure_cost(bundle: Bundle, model: ModelName, precision: Precision, frames: Sequence[UInt8Array]) -> Cost:
    """Run a network on real frames, uint8[H, W], in turn; the median time of the network alone.

    Raises:
        UselessError: it computes NaN or infinity for one of them.
        BundleError: the graph cannot be loaded.
    """
    entry = bundle.manifest.models[model]
    path = bundle.model_path(model, precision)
    feeds = [_feed(bundle, model, frame) for frame in frames]
    with WatchedRunner(path, entry.inputs, entry.outputs, threads=1) as runner:
        for feed in [*feeds, *feeds[:1] * WARM_UP]:
            runner.run(feed)
        times_s: list[float] = []
        began_s = time.perf_counter()
        while len(times_s) < LEAST_RUNS or (len(times_s) < MOST_RUNS and time.perf_counter() - began_s < ENOUGH_S):
            start_s = time.perf_counter()
            runner.run(feeds[len(times_s) % len(feeds)])
            times_s.append(time.perf_counter() - start_s)
    return Cost(
        bytes=entry.precisions[precision].bytes,
        median_ms=round(1000 * float(np.median(times_s)), 3),
        runtime=f"OpenVINO {version('openvino')}",
        machine=machine.processor(),
    )


def _feed(bundle: Bundle, model: ModelName, luma: UInt8Array) -> Feed:
    """A network's inputs, as the service makes them; what a scene's context is does not change the time."""
    entry = bundle.manifest.models[model]
    picture = network_input(entry.preprocessing, luma, entry.input_size)
    return {
        name: picture if len(spec.shape) == 4 else np.zeros(spec.shape, np.float32)
        for name, spec in entry.inputs.items()
    }
