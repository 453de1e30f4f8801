"""FP32 graph to INT8 Q/DQ graph, by static calibration on real frames through the runtime's own preprocessing.

How a graph becomes INT8 stands in training/onnx_graphs.py; here is what it is calibrated with, and which layers stay
in float: box arithmetic, softmax, suppression and those named in `KEEP`, because their error can show in the picture
or in the boxes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from edge.atomic import replacing
from edge.errors import InputError
from edge.manifest import Calibration, ModelName
from edge.media import read_still
from training.onnx_graphs import Feed, write_int8
from trt_build.graphs import graph_path, network_input, read_interface, session

# Nodes left in float, by a part of their name.
KEEP: dict[ModelName, tuple[str, ...]] = {
    "context": ("/stem/",),
    "colorizer": ("/fuse_context/", "/ab/", "/stem/"),
    "recognizer": ("/MatMul_", "/rpn_", "/class_logits/", "/refine/", "/stem/"),
}
MINIMUM_FRAMES = 16


def quantize(folder: Path, name: ModelName, frames: Sequence[Path]) -> Path:
    """Write `<name>.int8.onnx` beside `<name>.fp32.onnx`.

    Raises:
        InputError: too few frames, a broken frame, or no FP32 graph.
    """
    if len(frames) < MINIMUM_FRAMES:
        raise InputError(f"{len(frames)} calibration frames: at least {MINIMUM_FRAMES} are needed, 100 are better")
    source, target = graph_path(folder, name, "fp32"), graph_path(folder, name, "int8")
    read_interface(source)  # a missing or foreign file is told in one line, before any work
    with replacing(target) as temporary:
        write_int8(source, temporary, feeds(folder, name, frames), keep=KEEP[name])
    return target


def calibration_set(frames: Sequence[Path]) -> Calibration:
    """Count and content hash of the calibration frames."""
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(frame.read_bytes())
    return Calibration(images=len(frames), sha256=digest.hexdigest())


def feeds(folder: Path, name: ModelName, frames: Sequence[Path]) -> Iterator[Feed]:
    """Inputs of a network for each frame, as the service makes them; the colorizer also gets the frame's context."""
    inputs, _ = read_interface(graph_path(folder, name, "fp32"))
    first, *others = inputs
    height, width = inputs[first].shape[2:]
    scene = session(graph_path(folder, "context", "fp32")) if others else None
    for frame in tqdm(frames, desc=f"calibrating {name}", unit="frame", disable=None):
        luma = read_still(frame)
        feed = {first: network_input(name, luma, (height, width))}
        if scene is not None:
            view = scene.get_inputs()[0]
            feed[others[0]] = scene.run(None, {view.name: network_input("context", luma, view.shape[2:])})[0]
        yield feed
