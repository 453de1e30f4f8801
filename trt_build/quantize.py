"""FP32 graph to INT8 Q/DQ graph, by static calibration on real frames through the runtime's own preprocessing.

TensorRT's rules: int8 with zero-point 0 throughout, weights per output channel, no Q/DQ on biases, none around Add.
Only convolutions and matrix products become INT8; box arithmetic, softmax, suppression and the layers named in `KEEP`
stay in float, because their error can show in the picture or in the boxes.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from tqdm import tqdm

from edge.atomic import replacing
from edge.errors import InputError
from edge.manifest import Calibration, ModelName
from edge.media import read_still
from trt_build.graphs import graph_path, network_input, read_interface, session

# Nodes left in float, by a part of their name.
KEEP: dict[ModelName, tuple[str, ...]] = {
    "context": ("/stem/",),
    "colorizer": ("/fuse_context/", "/ab/", "/stem/"),
    "recognizer": ("/MatMul_", "/rpn_", "/class_logits/", "/refine/", "/stem/"),
}
MINIMUM_FRAMES = 16
Feed = dict[str, npt.NDArray[np.float32]]


def quantize(folder: Path, name: ModelName, frames: Sequence[Path]) -> Path:
    """Write `<name>.int8.onnx` beside `<name>.fp32.onnx`.

    Raises:
        InputError: too few frames, a broken frame, or no FP32 graph.
    """
    if len(frames) < MINIMUM_FRAMES:
        raise InputError(f"{len(frames)} calibration frames: at least {MINIMUM_FRAMES} are needed, 100 are better")
    source, target = graph_path(folder, name, "fp32"), graph_path(folder, name, "int8")
    read_interface(source)  # a missing or foreign file is told in one line, before any work
    with tempfile.TemporaryDirectory() as scratch, replacing(target) as temporary:
        prepared = Path(scratch) / "prepared.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(temporary),
            FrameReader(folder, name, frames),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv", "Gemm", "MatMul"],
            nodes_to_exclude=_kept_nodes(prepared, name),
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
        )
    return target


def calibration_set(frames: Sequence[Path]) -> Calibration:
    """Count and content hash of the calibration frames."""
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(frame.read_bytes())
    return Calibration(images=len(frames), sha256=digest.hexdigest())


class FrameReader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Feeds a network with frames exactly as the service will; the colorizer also with each frame's context."""

    def __init__(self, folder: Path, name: ModelName, frames: Sequence[Path]) -> None:
        self._feeds = self._read(folder, name, frames)

    def get_next(self) -> Feed | None:
        """The next frame's inputs, None at the end (the interface of ONNX Runtime's calibration)."""
        return next(self._feeds, None)

    @staticmethod
    def _read(folder: Path, name: ModelName, frames: Sequence[Path]) -> Iterator[Feed]:
        inputs, _ = read_interface(graph_path(folder, name, "fp32"))
        first, *others = inputs
        height, width = inputs[first].shape[2:]
        scene = session(graph_path(folder, "context", "fp32")) if others else None
        for frame in tqdm(frames, desc=f"calibrating {name}", unit="frame", disable=None):
            luma = read_still(frame)
            feed: Feed = {first: network_input(name, luma, (height, width))}
            if scene is not None:
                view = scene.get_inputs()[0]
                feed[others[0]] = scene.run(None, {view.name: network_input("context", luma, view.shape[2:])})[0]
            yield feed


def _kept_nodes(path: Path, name: ModelName) -> list[str]:
    nodes = onnx.load(path).graph.node
    return [node.name for node in nodes if any(part in node.name for part in KEEP[name])]
