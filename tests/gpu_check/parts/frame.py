"""A whole frame, as the service sees it: luma in the CPU's memory to NV12 in the CPU's memory, at 1280x720."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import cycle
from typing import Any

import numpy as np

from edge.bundles.bundle import Bundle
from edge.bundles.manifest import ModelName, Precision
from edge.engines.store import Flags, LoadedEngine, Wanted, find_engine, read_engine
from edge.sections import ColourConfig
from edge.types import UInt8Array
from edge.vision.base import Colourist
from edge.vision.cpu import CpuColourist
from edge.vision.networks import Networks
from tests.gpu_check.driver import need_driver
from tests.gpu_check.figures import Figures
from tests.gpu_check.places import bundle_of, engines_of, pictures
from tests.gpu_check.timing import by_the_clock, measured
from trt_build.engines.ensure import Workshop
from trt_build.engines.target import target_here

WIDTH, HEIGHT = 1280, 720
STREAMS = (1, 2, 4)
STREAMS_S = 4.0
SMOOTHING = ColourConfig().smoothing

Colour = Callable[[UInt8Array], Any]  # a frame to NV12; returns when it is there


def ours(figures: Figures, variant: str) -> None:
    """The service's own colourist on the GPU, in each precision."""
    need_driver()
    frames = pictures(WIDTH, HEIGHT)
    for precision in ("fp16", "int8"):
        with figures.going_on(precision):
            bundle = bundle_of(variant, precision)
            _measure(figures, precision, partial(_gpu_colourist, variant, bundle), frames)
            with figures.going_on("against the CPU"), _gpu_colourist(variant, bundle) as colourist:
                figures[f"{precision} levels from the CPU's"] = _difference(colourist, _cpu(bundle), frames[:10])


def torch_eager(figures: Figures, variant: str) -> None:
    """The same in PyTorch: FP16 networks, and its operators for all the rest."""
    need_driver()
    from tests.gpu_check.torch_colour import TorchColourist
    from tests.gpu_check.torch_merge import torch_device

    device, models = torch_device(), bundle_of(variant, "fp16").manifest.models
    frames = pictures(WIDTH, HEIGHT)
    _measure(figures, "fp16", lambda: TorchColourist(variant, models, device, smoothing=SMOOTHING), frames)


def _measure(figures: Figures, name: str, opened: Callable[[], Colourist], frames: Sequence[UInt8Array]) -> None:
    """Latency of one stream, then how many frames a second several give side by side."""
    with opened() as colourist:
        colourist.renew_context(frames[0])
        in_turn = cycle(frames)
        figures[f"{name} latency"] = measured(by_the_clock(lambda: colourist.nv12(next(in_turn))))
    for count in STREAMS:
        with figures.going_on(f"{name} {count} streams"), ExitStack() as streams:
            colourists = [streams.enter_context(opened()) for _ in range(count)]
            for each in colourists:
                each.renew_context(frames[0])
            rate = frames_per_s([each.nv12 for each in colourists], frames, STREAMS_S)
            figures[f"{name} frames_per_s at {count} streams"] = round(rate, 1)


def frames_per_s(colours: Sequence[Colour], frames: Sequence[UInt8Array], seconds: float) -> float:
    """Frames a second of all streams together, each in a thread of its own, after a warm-up of a few frames.

    Raises:
        Exception: what a stream raised.
    """
    counts, errors = [0] * len(colours), list[BaseException]()
    ready = threading.Barrier(len(colours) + 1)
    until_s = 0.0

    def work(number: int) -> None:
        try:
            for frame in frames[:5]:
                colours[number](frame)
            ready.wait()
            ready.wait()  # the time is set between the two
            for frame in cycle(frames):
                if time.monotonic() >= until_s:
                    break
                colours[number](frame)
                counts[number] += 1
        except BaseException as error:
            errors.append(error)
            ready.abort()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(colours))]
    for thread in threads:
        thread.start()
    started_s = time.monotonic()
    try:
        ready.wait()
        started_s = time.monotonic()
        until_s = started_s + seconds
        ready.wait()
    except threading.BrokenBarrierError:
        pass  # a stream failed: its error is below
    for thread in threads:
        thread.join()
    if errors:
        raise next((e for e in errors if not isinstance(e, threading.BrokenBarrierError)), errors[0])
    return sum(counts) / (time.monotonic() - started_s)


def _gpu_colourist(variant: str, bundle: Bundle) -> Colourist:
    from edge.vision.gpu.open import open_colourist

    folder, target = engines_of(variant), target_here()
    names: tuple[ModelName, ...] = ("context", "colorizer")
    Workshop(bundle, folder, target, Flags(), tell=print).ensure(names)

    def loaded(name: ModelName) -> LoadedEngine:
        precision: Precision = bundle.precision_of(name)
        path = find_engine(folder, Wanted(name, precision, bundle.graph(name).sha256, target))
        return LoadedEngine(path, read_engine(path, target))

    return open_colourist(bundle, {name: loaded(name) for name in names}, folder, smoothing=SMOOTHING)


def _cpu(bundle: Bundle) -> Colourist:
    return CpuColourist(Networks(bundle, ("context", "colorizer")), ColourConfig())


def _difference(one: Colourist, other: Colourist, frames: Sequence[UInt8Array]) -> dict[str, float]:
    """Mean and 99th percentile of how far two colourists' frames are apart."""
    with other:
        for each in (one, other):
            each.renew_context(frames[0])
        apart = [np.abs(one.nv12(frame).astype(int) - other.nv12(frame)) for frame in frames]
    mean, p99 = float(np.mean(apart)), float(np.quantile(apart, 0.99))
    return {"mean": round(mean, 3), "p99": p99}
