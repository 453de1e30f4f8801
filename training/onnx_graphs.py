"""Networks as ONNX graphs: written by PyTorch, made INT8 by ONNX Runtime. The one place that knows how.

INT8 follows TensorRT's rules: Q/DQ nodes, int8 with zero-point 0 throughout, weights per output channel, no Q/DQ on
biases, none around Add. Only convolutions and matrix products become INT8.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

if TYPE_CHECKING:
    from torch import Tensor, nn

OPSET = 17  # what TensorRT 10.3 parses in full
Feed = Mapping[str, npt.NDArray[np.float32]]


def write_fp32(
    network: nn.Module, example: tuple[Tensor, ...], path: Path, *, inputs: Sequence[str], outputs: Sequence[str]
) -> None:
    """Trace a network with an example's shapes, which become the graph's fixed shapes."""
    import torch

    with warnings.catch_warnings(), torch.no_grad():
        # The tracing exporter: deprecated, but the one that writes opset 17.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            example,
            str(path),
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            dynamo=False,
        )
    _declare(path, {name: list(value.shape) for name, value in zip(inputs, example, strict=True)})


def _declare(path: Path, inputs: Mapping[str, Sequence[int]]) -> None:
    """Add inputs that a network ignores, which the exporter leaves out: every colorizer is fed a context."""
    model = onnx.load(path)
    known = {value.name for value in model.graph.input}
    missing = [name for name in inputs if name not in known]
    for name in missing:
        model.graph.input.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, inputs[name]))
    if missing:
        onnx.save(model, path)


def write_int8(source: Path, target: Path, feeds: Iterable[Feed], *, keep: Sequence[str] = ()) -> None:
    """Write the Q/DQ graph of an FP32 graph, its ranges the minima and maxima over `feeds`.

    Args:
        keep: parts of names of nodes that stay in float.
    """
    with tempfile.TemporaryDirectory() as scratch:
        prepared = Path(scratch) / "prepared.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        nodes = onnx.load(prepared).graph.node
        quantize_static(
            str(prepared),
            str(target),
            _Feeds(feeds),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv", "Gemm", "MatMul"],
            nodes_to_exclude=[node.name for node in nodes if any(part in node.name for part in keep)],
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
        )


class _Feeds(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """The interface of ONNX Runtime's calibration: the next feed, None at the end."""

    def __init__(self, feeds: Iterable[Feed]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self._feeds, None)
