"""What a limit looks at, a node with all that is known around it, and the kinds of limits that TensorRT has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper

LARGEST_K = 3840

FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16})
NUMBERS = FLOATS | {TensorProto.INT32, TensorProto.INT64}
BOOLS = frozenset({TensorProto.BOOL})
ANY = NUMBERS | BOOLS
INT8 = frozenset({TensorProto.INT8})  # between QuantizeLinear and DequantizeLinear, nowhere else


@dataclass(frozen=True)
class Tensor:
    """What is known of a value: its element type (onnx.TensorProto.DataType), and its shape, None where unknown."""

    dtype: int
    shape: tuple[int, ...] | None


@dataclass(frozen=True)
class Node:
    """A node with what is known of the values around it; inputs and outputs are told by their positions."""

    proto: onnx.NodeProto
    opset: int
    values: Mapping[str, Tensor]
    constants: Mapping[str, TensorProto]

    def attribute(self, name: str, default: Any) -> Any:
        """An attribute's value; text as str."""
        for attribute in self.proto.attribute:
            if attribute.name == name:
                value = onnx.helper.get_attribute_value(attribute)
                return value.decode() if isinstance(value, bytes) else value
        return default

    def input_name(self, index: int) -> str:
        """Empty where the input is left out."""
        return str(self.proto.input[index]) if index < len(self.proto.input) else ""

    def dtype(self, index: int) -> int | None:
        """The element type of an input, where it is known."""
        value = self.values.get(self.input_name(index))
        return value.dtype if value else None

    def shape(self, index: int) -> tuple[int, ...] | None:
        """The shape of an input, where it is known."""
        value = self.values.get(self.input_name(index))
        return value.shape if value else None

    def output_shape(self) -> tuple[int, ...] | None:
        """The shape of the first output, where it is known."""
        value = self.values.get(self.proto.output[0])
        return value.shape if value else None

    def constant(self, index: int) -> npt.NDArray[Any] | None:
        """The value of an input that is constant."""
        found = self.constants.get(self.input_name(index))
        return None if found is None else np.asarray(numpy_helper.to_array(found))


@dataclass(frozen=True)
class Limit:
    """What must hold of a node (also where too little is known to tell); else the reason, and what to do instead."""

    holds: Callable[[Node], bool]
    reason: str
    cure: str


@dataclass(frozen=True)
class Operator:
    """An operator that TensorRT takes.

    Attributes:
        types: of its input `typed`, or of its output where that is None.
    """

    types: frozenset[int]
    limits: tuple[Limit, ...] = ()
    typed: int | None = 0


def attribute_is(name: str, allowed: tuple[Any, ...], reason: str, cure: str) -> Limit:
    """An attribute has one of the values `allowed`, of which the first is its default."""
    return Limit(lambda node: node.attribute(name, allowed[0]) in allowed, reason, cure)


def is_constant(index: int, what: str) -> Limit:
    """An input is constant or left out."""
    return Limit(
        lambda node: node.input_name(index) in ("", *node.constants),
        f"its {what} must be constant",
        f"make the {what} a number in PyTorch",
    )


def has_axes(*allowed: int) -> Limit:
    """The first input has so many axes."""
    number = " or ".join(map(str, allowed))
    return Limit(
        lambda node: (shape := node.shape(0)) is None or len(shape) in allowed,
        f"TensorRT takes tensors of {number} axes alone",
        f"reshape its input to {number} axes",
    )


def _k_is_small(node: Node) -> bool:
    shape = node.output_shape()  # tells k, wherever that comes from
    return shape is None or shape[node.attribute("axis", -1)] <= LARGEST_K


def _zero_point_is_zero(node: Node) -> bool:
    value = node.constant(2)
    return value is not None and value.dtype == np.int8 and not value.any()  # left out it means uint8


def _scale_is_positive(node: Node) -> bool:
    value = node.constant(1)
    return value is not None and bool(np.all(np.isfinite(value) & (value > 0)))


EVALUATES = attribute_is("training_mode", (0,), "it would learn while it runs", "export in evaluation mode")
NO_DILATION = Limit(
    lambda node: all(size == 1 for size in node.attribute("dilations", [])),
    "TensorRT's pooling has no dilation",
    "pool without dilation",
)
ONE_OUTPUT = Limit(
    lambda node: sum(map(bool, node.proto.output)) == 1,
    "TensorRT gives its first output alone",
    "use that one alone",
)
SMALL_K = Limit(_k_is_small, f"TensorRT finds the top {LARGEST_K} at most", f"ask for {LARGEST_K} or fewer")
WHOLE_OR_FMOD = Limit(
    lambda node: node.dtype(0) not in FLOATS or node.attribute("fmod", 0) == 1,
    "of floats TensorRT has the remainder of fmod alone",
    "use torch.fmod, or whole numbers",
)
QUANTIZES = (
    Limit(_zero_point_is_zero, "TensorRT quantizes to int8 around a zero point of 0", "quantize with symmetric int8"),
    Limit(_scale_is_positive, "its scale must be a positive constant", "calibrate again"),
    Limit(
        lambda node: node.dtype(1) != TensorProto.FLOAT16 or node.opset >= 19,
        "scales in float16 need opset 19",
        "write it with opset 19, or with scales in float32",
    ),
)
