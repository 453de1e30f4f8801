"""Checkpoint to ONNX in FP32: fixed shapes, batch 1, proof that TensorRT takes it and that it computes the same.

With `trt_build.checks.stages` this is the only part of trt_build that knows PyTorch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from tqdm import tqdm

from edge.atomic import replacing
from edge.bundles.manifest import INPUTS, OUTPUTS, PRECISIONS, ModelName
from edge.errors import InputError
from edge.media import read_still
from edge.vision.preprocess import Size
from training.checkpoint import Card, load_network, read_card, run_folder
from training.models.catalogue import build_context, build_recognizer
from training.models.two_stage import TwoStage
from training.onnx_graphs import write_fp32
from trt_build.checks.differences import Difference, absolute, largest, of_detections
from trt_build.checks.operators import check_model
from trt_build.checks.stages import BETWEEN, answering_stages, compare_stages
from trt_build.folding import fold
from trt_build.graphs import GraphCard, graph_path, network_input, preprocessing_of, read_graph, session, write_card

SECOND_SIZES: tuple[Size, ...] = ((160, 224), (224, 160))  # of the stage checks: the first that the graph has not


def export(
    checkpoint: Path,
    out: Path,
    images: Sequence[Path],
    *,
    size: Size | None = None,
    context_weights: Path | None = None,
) -> list[Difference]:
    """Export a checkpoint's network (and with a colorizer the context network that it was trained with).

    Args:
        size: height and width of the network's picture, multiples of 32 from 64 on; None takes that of the training.
            A context network keeps its own.
        context_weights: of the context network, where no package brings them.

    Returns:
        The largest difference between PyTorch and ONNX Runtime, over `images` for each graph written, and at each
        stage of a recognizer. All are within their limits.

    Raises:
        InputError: the checkpoint or an image cannot be read.
        UnsupportedError: TensorRT could not take a graph.
        DisagreementError: a difference reaches its limit.
        OSError: `out` cannot be written.
    """
    folder = run_folder(checkpoint)
    card = read_card(folder)
    if card.network not in ("recognizer", "colorizer"):
        raise InputError(f"{folder}: unknown network {card.network!r}")
    network, _ = load_network(folder, card.network)
    size = size or (card.input_size, card.input_size)
    out.mkdir(parents=True, exist_ok=True)
    provenance = {"command": card.command, "data": str(card.data), "steps": str(card.step)}
    if isinstance(network, TwoStage):
        graph_card = GraphCard("recognizer", card.labels, provenance)
        second = next(each for each in SECOND_SIZES if each != size)
        return _export_recognizer(
            _resized(network, card, size), _resized(network, card, second), graph_card, out, images
        )
    context = build_context(card.context, context_weights)
    imagenet = {"network": card.context, "weights": context_weights.name if context_weights else "its Python package"}
    return [
        _export(context, GraphCard("context", [], imagenet), (context.input_px, context.input_px), out, images),
        _export(network, GraphCard("colorizer", [], provenance), size, out, images),
    ]


def _export(network: nn.Module, card: GraphCard, size: Size, out: Path, images: Sequence[Path]) -> Difference:
    model = _traced(network, card.name, size)
    difference = _difference(network, model, card.name, size, images)
    difference.check()
    _write(model, card, out)
    return difference


def _export_recognizer(
    network: TwoStage, second: TwoStage, card: GraphCard, out: Path, images: Sequence[Path]
) -> list[Difference]:
    """Export a network; its stages are also compared at the size of `second`, which has the same weights."""
    size = network.height, network.width
    model = _traced(network, card.name, size)
    over_images = _difference(network, model, card.name, size, images)
    stages = compare_stages(network, model)
    others = compare_stages(second, _traced(second, card.name, (second.height, second.width)))
    sizes = f"{network.width}x{network.height} and {second.width}x{second.height}"
    differences = [
        over_images,
        *(Difference(f"recognizer's {name} at {sizes}", largest([stages[name], others[name]])) for name in stages),
    ]
    for difference in differences:
        difference.check()
    _write(model, card, out)
    return differences


def _resized(network: TwoStage, card: Card, size: Size) -> TwoStage:
    """The same weights for another picture: anchors are all that depends on its size."""
    if (network.height, network.width) == size:
        return network
    resized = build_recognizer(card.variant, len(card.labels), size)
    resized.load_state_dict(network.state_dict())
    return resized.eval()


def _traced(network: nn.Module, name: ModelName, size: Size) -> onnx.ModelProto:
    """The network's graph, checked; in a recognizer's the values between its stages have names."""
    outputs = OUTPUTS[name]
    staged: AbstractContextManager[None] = nullcontext()
    if isinstance(network, TwoStage):
        staged, outputs = answering_stages(network), outputs + BETWEEN
    with tempfile.TemporaryDirectory() as scratch, staged:
        path = Path(scratch) / f"{name}.onnx"
        write_fp32(network, _example(name, size), path, inputs=INPUTS[name], outputs=outputs)
        model = read_graph(path)
    _keep_outputs(model, OUTPUTS[name])
    fold(model)
    onnx.checker.check_model(model, full_check=True)
    check_model(model, name)
    return model


def _keep_outputs(model: onnx.ModelProto, names: Sequence[str]) -> None:
    """Drop all other outputs; the nodes stay."""
    kept = [value for value in model.graph.output if value.name in names]
    del model.graph.output[:]
    model.graph.output.extend(kept)


def _write(model: onnx.ModelProto, card: GraphCard, out: Path) -> None:
    with replacing(graph_path(out, card.name, "fp32")) as temporary:
        onnx.save(model, temporary)
        for precision in PRECISIONS[1:]:  # made from an older export, they must never lie beside this one
            graph_path(out, card.name, precision).unlink(missing_ok=True)
    write_card(out, card)


def _example(name: ModelName, size: Size) -> tuple[Tensor, ...]:
    luma = torch.rand(1, 1, *size)
    return (luma, torch.randn(1, 1000)) if name == "colorizer" else (luma,)


@torch.no_grad()
def _difference(
    network: nn.Module, model: onnx.ModelProto, name: ModelName, size: Size, images: Sequence[Path]
) -> Difference:
    """Over all images; boxes are compared as shares of the picture's longer side."""
    runtime = session(model)
    generator = torch.Generator().manual_seed(0)
    found = []
    for image in tqdm(images, desc=f"{name} against PyTorch", unit="image", disable=None, leave=False):
        inputs = [torch.from_numpy(network_input(preprocessing_of(name), read_still(image), size))]
        if name == "colorizer":
            inputs.append(torch.randn(1, 1000, generator=generator) * 2)
        expected = network(*inputs)
        got = runtime.run(None, dict(zip(INPUTS[name], (value.numpy() for value in inputs), strict=True)))
        if name == "recognizer":
            found.append(of_detections([value.numpy() for value in expected], got, max(size)))
        else:
            found.append(absolute(expected.numpy(), got[0]))
    return Difference(f"{name} over {len(images)} images", largest(found))
