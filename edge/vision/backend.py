"""What the lanes run on: TensorRT where engines of the bundle fit this machine, else OpenVINO on the CPU."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from edge.bundles.bundle import Bundle
from edge.bundles.manifest import ModelName
from edge.config import Config
from edge.engines.choice import EngineChoice, Engines
from edge.engines.store import Target
from edge.errors import TapetumError
from edge.inference.cuda import NoGpuError, need_gpu
from edge.inference.tensorrt import tensorrt_version
from edge.kernels.base import MergeStyle
from edge.types import UInt8Array
from edge.vision.base import Backend, Colourist, Detector
from edge.vision.cpu import CpuColourist, CpuDetector
from edge.vision.networks import Networks

log = logging.getLogger(__name__)


def open_backend(config: Config, bundle: Bundle, *, cache_dir: Path | None = None) -> Backend:
    """Load the networks where they run best, and run each once.

    Whatever is wrong with the GPU or its engines, the CPU takes over, unless `service.runtime` says otherwise.

    Args:
        cache_dir: where compiled networks are kept for the next start; None keeps none.

    Raises:
        BundleError: a graph cannot be read or is not what the manifest declares.
        TapetumError: `service.runtime = "tensorrt"`, and it cannot be had.
    """
    wanted, detail = config.service.runtime, ""
    if wanted != "cpu":
        try:
            return open_engines(config, bundle)
        except TapetumError as error:
            if wanted == "tensorrt":
                raise
            detail = str(error)
            level = logging.INFO if isinstance(error, NoGpuError) else logging.WARNING
            log.log(level, "%s; the networks run on the CPU", detail)
    return _open_cpu(config, bundle, cache_dir, detail)


def open_engines(config: Config, bundle: Bundle, luma: UInt8Array | None = None) -> Backend:
    """Load the networks on the GPU, beside others or not, and prove them.

    Args:
        luma: a frame uint8[H, W] of the stream that they are for, which makes its first frame there as quick as the
            next; without one a grey frame is taken.

    Raises:
        TapetumError: it cannot be had, for whatever reason.
    """
    gpu, folder, colour = need_gpu(), config.service.engines_dir, config.colour
    choice = EngineChoice(bundle, folder, Target(tensorrt_version(), gpu.name, gpu.compute_capability))
    from edge.vision.gpu.open import open_colourist, open_detector  # most machines come to their end above

    def colourist(engines: Engines) -> Colourist:
        style = MergeStyle(upsampling=colour.upsampling)
        return open_colourist(bundle, engines, folder, smoothing=colour.smoothing, style=style)

    def detector(engines: Engines) -> Detector:
        return open_detector(bundle, engines["recognizer"], folder)

    with ExitStack() as opening:
        frame = _GREY if luma is None else luma
        colours = choice.first_that_works(["context", "colorizer"], colourist, partial(_prove_colourist, luma=frame))
        opening.enter_context(colours)
        detects = choice.first_that_works(["recognizer"], detector, partial(_try_detector, luma=frame))
        opening.pop_all()
    for trouble in choice.troubles:
        log.warning("%s; going on with the next best", trouble)
    detail, engines = "; ".join(choice.troubles), frozenset(choice.paths)
    return Backend("tensorrt", choice.precisions["colorizer"], colours, detects, detail, engines)


def _open_cpu(config: Config, bundle: Bundle, cache_dir: Path | None, detail: str) -> Backend:
    # Half of the cores for each lane, so that detection never delays video.
    threads = max(1, len(os.sched_getaffinity(0)) // 2)

    def networks(*models: ModelName) -> Networks:
        return Networks(bundle, models, threads=threads, cache_dir=cache_dir)

    with ExitStack() as opening:
        colours = opening.enter_context(CpuColourist(networks("context", "colorizer"), config.colour))
        detects = opening.enter_context(CpuDetector(networks("recognizer")))
        # Here and one by one: OpenVINO's very first runs may lock each other out for ever when two threads make them.
        _try_colourist(colours, _GREY)
        _try_detector(detects, _GREY)
        opening.pop_all()
    return Backend("openvino", bundle.precision_of("colorizer"), colours, detects, detail)


_GREY = np.full((480, 640), 128, np.uint8)
_FIRST_RUNS = 3  # without a past; with one, launch by launch; and as a CUDA graph


def _try_colourist(colourist: Colourist, luma: UInt8Array) -> None:
    """Run its networks: the first runs allocate and are slow, and tell what does not work."""
    colourist.renew_context(luma)
    for _ in range(_FIRST_RUNS):
        colourist.nv12(luma)
    colourist.forget()


def _prove_colourist(colourist: Colourist, luma: UInt8Array) -> None:
    """For engines: a float16 one may overflow where the graph on the CPU does not.

    Raises:
        TapetumError: it shows grey.
    """
    _try_colourist(colourist, luma)
    if colourist.grey_frames:
        raise TapetumError("the colorizer's engine gives values that are not finite: take another precision")


def _try_detector(detector: Detector, luma: UInt8Array) -> None:
    for _ in range(_FIRST_RUNS):
        detector.detect(luma)
