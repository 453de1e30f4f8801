"""What a network is fed in calibration: frames through the service's own preprocessing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from edge.bundles.manifest import ModelName
from edge.media import read_still
from training.quantization.ranges import Feed
from trt_build.graphs import graph_path, network_input, preprocessing_of, read_interface, session


def feeds(folder: Path, name: ModelName, frames: Sequence[Path]) -> Iterator[Feed]:
    """Inputs of a network for each frame, as the service makes them; the colorizer also gets the frame's context.

    Raises:
        InputError: a graph is missing, or a frame is broken.
    """
    inputs, _ = read_interface(graph_path(folder, name, "fp32"))
    first, *others = inputs
    height, width = inputs[first].shape[2:]
    scene = session(graph_path(folder, "context", "fp32")) if others else None
    for frame in frames:
        luma = read_still(frame)
        feed = {first: network_input(preprocessing_of(name), luma, (height, width))}
        if scene is not None:
            view = scene.get_inputs()[0]
            seen = network_input(preprocessing_of("context"), luma, view.shape[2:])
            feed[others[0]] = scene.run(None, {view.name: seen})[0]
        yield feed
