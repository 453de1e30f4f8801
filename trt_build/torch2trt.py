"""A checkpoint to an engine by NVIDIA's torch2trt, for TensorRT 10 and older: the colorizer and the context network.

torch2trt walks through a network and adds a TensorRT layer for each PyTorch function that it knows. Its last release
does not know TensorRT 11, nor what the recognizer needs (TopK, NMS, RoIAlign), and would calibrate INT8 in its own
way. The way through ONNX does all of that.

It is not on a package index: https://github.com/NVIDIA-AI-IOT/torch2trt says how to install it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edge.bundles.manifest import INPUTS, OUTPUTS, ModelName, Precision
from edge.errors import ConfigError, TapetumError
from edge.inference.tensorrt import load_tensorrt, tensorrt_version

if TYPE_CHECKING:
    from torch import Tensor, nn

NEWEST_MAJOR = 10
CONVERTED: Final[tuple[ModelName, ...]] = ("context", "colorizer")


def convert(
    checkpoint: Path, model: ModelName, precision: Precision, *, context_weights: Path | None = None
) -> bytes:
    """Build an engine of fixed shapes, batch 1, with the names and types of the ONNX graph.

    torch2trt sets neither workspace nor optimisation level on TensorRT 10.

    Args:
        checkpoint: run folder of a colorizer; for the context network, that of the colorizer it was trained with.
        context_weights: of a context network that no package brings.

    Returns:
        The serialized engine.

    Raises:
        ConfigError: torch2trt cannot do this, here or at all.
        InputError: the checkpoint cannot be read.
        TapetumError: TensorRT is missing, or the engine does not follow its inputs as the network does.
    """
    refuse(model, precision)
    torch2trt = _load()
    network, inputs = _on_gpu(checkpoint, model, context_weights)
    _add_hardtanh(torch2trt, load_tensorrt())
    converted = torch2trt.torch2trt(
        network,
        inputs,
        input_names=list(INPUTS[model]),
        output_names=list(OUTPUTS[model]),
        fp16_mode=precision == "fp16",
    )
    if converted.engine is None:
        raise TapetumError(f"torch2trt built no engine of {model}: see TensorRT's lines above, or {_ONNX}")
    frozen = [INPUTS[model][i] for i in frozen_inputs(network, converted, inputs)]
    if frozen:
        raise TapetumError(f"torch2trt lost the way from {' and '.join(frozen)} through the {model}: {_ONNX}")
    return bytes(converted.engine.serialize())


def refuse(model: ModelName, precision: Precision) -> None:
    """Tell what torch2trt cannot do.

    Raises:
        ConfigError: another network, INT8, or TensorRT 11 and newer.
        TapetumError: there is no TensorRT.
    """
    if model not in CONVERTED:
        raise ConfigError(f"torch2trt has no layers for the {model} (TopK, NMS, RoIAlign): {_ONNX}")
    if precision == "int8":
        raise ConfigError(f"torch2trt does not read INT8 graphs, and would calibrate in its own way: {_ONNX}")
    version = tensorrt_version()
    if int(version.partition(".")[0]) > NEWEST_MAJOR:
        raise ConfigError(f"torch2trt works up to TensorRT {NEWEST_MAJOR}, here is {version}: {_ONNX}")


def frozen_inputs(
    network: Callable[..., Tensor], converted: Callable[..., Tensor], inputs: Sequence[Tensor]
) -> list[int]:
    """Which inputs the converted network does not follow.

    What torch2trt has no converter for, it takes for a constant: the engine then answers every frame as it did the
    first. So each input is changed in turn, and the outputs must change by about as much as the network's.

    Args:
        inputs: those that the network was converted with.

    Returns:
        Indices into `inputs`; an input that the network itself ignores is not among them.
    """
    import torch

    frozen = []
    with torch.no_grad():
        before, was = network(*inputs), converted(*inputs)
        for i, value in enumerate(inputs):
            other = [*inputs[:i], torch.rand_like(value), *inputs[i + 1 :]]
            change = network(*other) - before
            error = (converted(*other) - was) - change
            if error.norm() > 0.5 * change.norm():  # 1 where it is frozen, a few hundredths by FP16
                frozen.append(i)
    return frozen


_ONNX = "build from the graph instead: --converter onnx"


def _load() -> Any:
    """The package.

    Raises:
        ConfigError: it, or a GPU for it, is missing.
    """
    try:
        import torch
        import torch2trt  # type: ignore[import-not-found]  # not on a package index
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the package {error.name} is not installed: see https://github.com/NVIDIA-AI-IOT/torch2trt, or {_ONNX}"
        ) from error
    if not torch.cuda.is_available():
        raise ConfigError(f"torch2trt needs a GPU that PyTorch can use, and here is none: {_ONNX}")
    return torch2trt


def _on_gpu(checkpoint: Path, model: ModelName, context_weights: Path | None) -> tuple[nn.Module, list[Tensor]]:
    """The network, and an example of what it takes."""
    import torch

    from training.checkpoint import load_network, read_card
    from training.models.catalogue import build_context
    from training.models.interfaces import CONTEXT_SIZE

    network: nn.Module
    if model == "context":
        network = context = build_context(read_card(checkpoint).context, context_weights)
        example = [torch.rand(1, 1, context.input_px, context.input_px)]
    else:
        network, card = load_network(checkpoint, "colorizer")
        example = [torch.rand(1, 1, card.input_size, card.input_size), torch.randn(1, CONTEXT_SIZE)]
    return network.eval().cuda(), [tensor.cuda() for tensor in example]


def _add_hardtanh(torch2trt: Any, trt: Any) -> None:
    """PyTorch computes ReLU6 as hardtanh, which torch2trt does not know: see `frozen_inputs`."""

    @torch2trt.tensorrt_converter("torch.nn.functional.hardtanh")  # type: ignore[untyped-decorator]
    def convert_hardtanh(ctx: Any) -> None:
        source = torch2trt.get_arg(ctx, "input", pos=0, default=None)
        layer = ctx.network.add_activation(source._trt, trt.ActivationType.CLIP)
        layer.alpha = torch2trt.get_arg(ctx, "min_val", pos=1, default=-1.0)
        layer.beta = torch2trt.get_arg(ctx, "max_val", pos=2, default=1.0)
        ctx.method_return._trt = layer.get_output(0)
