"""FP32 graph to FP16 or INT8 graph beside it, finite and by the rules, and how far it is from FP32."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import onnx
from tqdm import tqdm

from edge.atomic import replacing
from edge.bundles.manifest import ModelName, Precision
from edge.errors import TapetumError
from training.onnx_graphs import prepare
from training.quantization.graph import Layer, insert, layers
from training.quantization.ranges import Method, find_limits
from trt_build.checks import operators, quantized
from trt_build.graphs import graph_path, read_card, read_interface, spread, write_card
from trt_build.precision.damage import Judge
from trt_build.precision.half import LARGEST, half_tensors, to_half
from trt_build.precision.inputs import feeds
from trt_build.precision.sensitivity import LIMITS, Sensitivity, measure

# Layers left in float unless told otherwise, by a part of their name: those that see raw pixels or give the answer.
KEEP: Final[dict[ModelName, tuple[str, ...]]] = {
    "context": ("/stem/",),
    "colorizer": ("/fuse_context/", "/ab/", "/stem/"),
    "recognizer": ("/rpn_", "/class_logits/", "/refine/", "/stem/"),
}
Rest = Literal["fp16", "fp32"]
QUANTIZED_HALF_OPSET = 19  # the first in which Q/DQ take FP16
JUDGED_FRAMES = 12  # spread over the calibration set
CURES: Final[dict[Precision, str]] = {
    "fp16": "leave the layer before it in FP32 with --keep",
    "int8": "use --rest fp32",
}


class NotFiniteError(TapetumError):
    """A graph of lower precision gives infinities or NaN on real frames."""


@dataclass(frozen=True)
class Written:
    """A graph that was written.

    Attributes:
        damage: how far it is from FP32 on `frames` frames (see `trt_build.precision.damage`).
        float_layers: names of the layers that were left in a wider type.
        layers: how many there are in all.
        sensitivity: what was measured to choose them, where they were not named.
    """

    path: Path
    damage: float
    frames: int
    float_layers: tuple[str, ...]
    layers: int
    sensitivity: Sensitivity | None = None


def write_fp16(folder: Path, name: ModelName, frames: Sequence[Path], *, keep: Sequence[str] = ()) -> Written:
    """Write `<name>.fp16.onnx` beside `<name>.fp32.onnx`.

    Args:
        frames: of a calibration set; some of them show that the graph is finite, and how close to FP32.
        keep: parts of names of layers that stay in FP32.

    Raises:
        InputError: no FP32 graph or card, or a broken frame.
        NotFiniteError: FP16 does not hold what the network computes.
    """
    network = _Network.read(folder, name)
    network.check_range("fp16", frames, keep)
    return network.write("fp16", to_half(network.model, keep), network.named(keep), frames)


def write_int8(
    folder: Path,
    name: ModelName,
    frames: Sequence[Path],
    *,
    method: Method = "minmax",
    keep: Sequence[str] | Literal["auto"] | None = None,
    rest: Rest = "fp16",
) -> Written:
    """Write `<name>.int8.onnx` beside `<name>.fp32.onnx`.

    Args:
        frames: of a calibration set: the ranges are those of the values that they cause.
        method: how a range follows from the values (see `training.quantization.ranges`).
        keep: parts of names of layers that stay in float; "auto" measures which; None takes `KEEP`.
        rest: what the float part computes in.

    Raises:
        InputError: no FP32 graph or card, or a broken frame.
        NotFiniteError: FP16 does not hold what the float part computes.
    """
    network = _Network.read(folder, name)
    tensors = sorted({layer.activation for layer in network.layers})
    watched = tqdm(feeds(folder, name, frames), f"calibrating {name}", len(frames), unit="frame", disable=None)
    limits = find_limits(network.model, tensors, watched, method)
    sensitivity = None
    if keep == "auto":
        judge = Judge(folder, name, spread(frames, JUDGED_FRAMES))
        sensitivity = measure(network.model, network.layers, limits, judge.damage, LIMITS[name])
        kept = sensitivity.kept
    else:
        kept = network.named(KEEP[name] if keep is None else keep)
    model = insert(network.model, [layer for layer in network.layers if layer not in kept], limits)
    if rest == "fp16":
        network.check_range("int8", frames)
        model = to_half(onnx.version_converter.convert_version(model, QUANTIZED_HALF_OPSET))
    return network.write("int8", model, kept, frames, sensitivity)


@dataclass(frozen=True)
class _Network:
    """An exported network: its FP32 graph, prepared, and the layers in it."""

    folder: Path
    name: ModelName
    model: onnx.ModelProto
    layers: tuple[Layer, ...]

    @classmethod
    def read(cls, folder: Path, name: ModelName) -> _Network:
        read_interface(graph_path(folder, name, "fp32"))  # what is missing or foreign is told before any work
        read_card(folder, name)
        model = prepare(graph_path(folder, name, "fp32"))
        return cls(folder, name, model, tuple(layers(model)))

    def named(self, parts: Sequence[str]) -> tuple[Layer, ...]:
        """The layers whose names hold one of the parts."""
        return tuple(layer for layer in self.layers if any(part in layer.name for part in parts))

    def check_range(self, precision: Precision, frames: Sequence[Path], keep: Sequence[str] = ()) -> None:
        """Check that FP16 holds all values of some frames. (ONNX Runtime on a CPU would compute on in FP32.)

        Raises:
            NotFiniteError: it does not.
        """
        outputs = {name: node for node in self.model.graph.node for name in node.output}
        half = half_tensors(self.model, keep)
        tensors = [name for name in outputs if name in half]
        reached = find_limits(self.model, tensors, feeds(self.folder, self.name, spread(frames, JUDGED_FRAMES)))
        beyond = {tensor: largest for tensor, largest in reached.items() if not largest <= LARGEST}
        if beyond:
            tensor, largest = next(iter(beyond.items()))
            path = graph_path(self.folder, self.name, precision)
            raise NotFiniteError(
                f"{path}: {outputs[tensor].name} reaches {largest:.3g} on real frames, FP16 ends at {LARGEST:g}: "
                f"{CURES[precision]}"
            )

    def write(
        self,
        precision: Precision,
        model: onnx.ModelProto,
        kept: Sequence[Layer],
        frames: Sequence[Path],
        sensitivity: Sensitivity | None = None,
    ) -> Written:
        """Check a graph, give it its name, and note in the network's card which layers are in a wider type."""
        path = graph_path(self.folder, self.name, precision)
        quantized.check_model(model, str(path))
        operators.check_model(model, str(path))
        judged = spread(frames, JUDGED_FRAMES)
        damage = Judge(self.folder, self.name, judged).damage(model)
        if not math.isfinite(damage):
            raise NotFiniteError(f"{path}: gives infinities or NaN on real frames: {CURES[precision]}")
        with replacing(path) as temporary:
            onnx.save(model, temporary)
        names = [layer.name for layer in kept]
        card = read_card(self.folder, self.name)
        write_card(self.folder, replace(card, float_layers=card.float_layers | {precision: names}))
        return Written(path, damage, len(judged), tuple(names), len(self.layers), sensitivity)
