"""Networks as ONNX graphs: written by PyTorch, made INT8 by training.quantization. The one place that knows how."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
from onnxruntime.quantization.shape_inference import quant_pre_process

from training.quantization.graph import insert, layers
from training.quantization.ranges import Feed, find_limits

if TYPE_CHECKING:
    from torch import Tensor, nn

OPSET = 17  # what TensorRT 10.3 parses in full


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
    """Write the Q/DQ graph of an FP32 graph, its ranges the largest magnitudes over `feeds`.

    Args:
        keep: parts of names of layers that stay in float.
    """
    model = prepare(source)
    chosen = [layer for layer in layers(model) if not any(part in layer.name for part in keep)]
    limits = find_limits(model, sorted({layer.activation for layer in chosen}), feeds)
    onnx.save(insert(model, chosen, limits), target)


def prepare(source: Path) -> onnx.ModelProto:
    """A graph with what does not change its results done: constants folded, batch norms in their convolutions.

    Its constants are initializers, all shapes are known, and it asks for ONNX's own operators alone. Inputs that the
    network ignores are still there.
    """
    with tempfile.TemporaryDirectory() as scratch:
        prepared = Path(scratch) / "prepared.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        model = onnx.load(prepared)
    known = {value.name for value in model.graph.input}
    model.graph.input.extend(value for value in onnx.load(source).graph.input if value.name not in known)
    used = {node.domain for node in model.graph.node}
    imports = [each for each in model.opset_import if each.domain in used | {"", "ai.onnx"}]
    del model.opset_import[:]
    model.opset_import.extend(imports)
    return model
