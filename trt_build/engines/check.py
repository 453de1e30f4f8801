"""What a new engine must pass before it takes its place: on real frames it computes what its graph says.

The frames are those of the clip that ships with Tapetum, so that a unit needs none of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from pathlib import Path

from edge.bundles.bundle import DEMO_BUNDLE, Bundle
from edge.engines.store import Target, read_engine
from edge.inference.base import Runner
from edge.inference.engine import TensorRtRunner
from edge.media import ClipReader
from edge.types import UInt8Array
from trt_build.engines.ensure import Check, EngineDiffersError, Network
from trt_build.verification.bundle import open_reference, sample
from trt_build.verification.compare import verify_engine

CLIP = DEMO_BUNDLE / "night.mp4"
FRAMES = 24

Open = Callable[[Network, Path], Runner]


def opening_for(target: Target) -> Open:
    """Opens engines that were built for this machine.

    Opening raises:
        EngineError: the engine is foreign or damaged, or TensorRT does not take it.
        CudaError: the GPU does not let it.
    """

    def open_engine(network: Network, engine: Path) -> Runner:
        entry = network.entry
        return TensorRtRunner(engine, entry.inputs, entry.outputs, plan=read_engine(engine, target))

    return open_engine


def comparing(bundle: Bundle, open_engine: Open) -> Check:
    """Compares a new engine with ONNX Runtime, by the limits of `tapetum-build verify`.

    Checking raises:
        EngineDiffersError: it is beyond a limit.
        TapetumError: it cannot be opened.
    """

    frames = cache(lambda: list(clip_frames()))  # decoded once, for all networks

    def check(network: Network, engine: Path) -> None:
        with (
            open_engine(network, engine) as runner,
            open_reference(bundle, network.name) as reference,
            open_reference(bundle, "context") as context,
        ):
            samples = (sample(bundle, network.name, context, CLIP, luma) for luma in frames())
            comparison = verify_engine(network.name, network.precision, runner, reference, samples)
        if comparison.exceeded:
            raise EngineDiffersError(
                f"{'; '.join(comparison.exceeded)}: the new engine does not compute what {network.onnx} says, and is "
                "not used: choose another precision"
            )

    return check


def clip_frames() -> Iterator[UInt8Array]:
    """At least FRAMES frames, evenly over the clip."""
    with closing(ClipReader(CLIP)) as clip:
        every = max(1, clip.frames // FRAMES)
        for index, luma in enumerate(clip):
            if index % every == 0:
                yield luma
