"""Checkpoint to ONNX in FP32: fixed shapes, batch 1, and proof that ONNX Runtime agrees with PyTorch on real images.

This is the one file of trt_build that knows PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from edge.atomic import replacing
from edge.errors import InputError, TapetumError
from edge.manifest import ModelName
from edge.media import read_still
from edge.types import Float32Array
from training.checkpoint import load_network, read_card
from training.models.catalogue import build_context
from training.onnx_graphs import write_fp32
from trt_build.graphs import GraphCard, graph_path, network_input, session, write_card

TOLERANCE = 1e-3
OUTPUTS: dict[ModelName, tuple[str, ...]] = {
    "context": ("context",),
    "colorizer": ("ab",),
    "recognizer": ("boxes", "scores", "labels"),
}


class DisagreementError(TapetumError):
    """ONNX Runtime does not compute what PyTorch computes."""


def export(
    checkpoint: Path, out: Path, images: Sequence[Path], context_weights: Path | None = None
) -> dict[str, float]:
    """Export a checkpoint's network (and with a colorizer the context network that it was trained with).

    Args:
        context_weights: of the context network, where no package brings them.

    Returns:
        The largest difference between PyTorch and ONNX Runtime over `images`, of each graph written.

    Raises:
        InputError: the checkpoint or an image cannot be read.
        DisagreementError: a difference of `TOLERANCE` or more.
        OSError: `out` cannot be written.
    """
    card = read_card(checkpoint)
    if card.network not in ("recognizer", "colorizer"):
        raise InputError(f"{checkpoint}: unknown network {card.network!r}")
    network, _ = load_network(checkpoint, card.network)
    out.mkdir(parents=True, exist_ok=True)
    provenance = {"command": card.command, "data": str(card.data), "steps": str(card.step)}
    if card.network == "recognizer":
        graph_card = GraphCard("recognizer", card.labels, provenance)
        return {"recognizer": _export_one(network, graph_card, card.input_size, out, images)}
    context = build_context(card.context, context_weights)
    imagenet = {"network": card.context, "weights": context_weights.name if context_weights else "its Python package"}
    return {
        "context": _export_one(context, GraphCard("context", [], imagenet), context.input_px, out, images),
        "colorizer": _export_one(network, GraphCard("colorizer", [], provenance), card.input_size, out, images),
    }


def _export_one(network: nn.Module, card: GraphCard, size: int, out: Path, images: Sequence[Path]) -> float:
    example = _example(card.name, size)
    with replacing(graph_path(out, card.name, "fp32")) as temporary:
        names = ["image" if card.name == "recognizer" else "luma", "context"][: len(example)]
        write_fp32(network, example, temporary, inputs=names, outputs=OUTPUTS[card.name])
        onnx.checker.check_model(str(temporary), full_check=True)
        worst = _largest_difference(network, temporary, card.name, size, images)
        if not worst < TOLERANCE:
            raise DisagreementError(
                f"{card.name}: ONNX Runtime differs from PyTorch by {worst:.2g} (limit {TOLERANCE})"
            )
    write_card(out, card)
    return worst


def _example(name: ModelName, size: int) -> tuple[Tensor, ...]:
    luma = torch.rand(1, 1, size, size)
    return (luma, torch.randn(1, 1000)) if name == "colorizer" else (luma,)


def _largest_difference(network: nn.Module, path: Path, name: ModelName, size: int, images: Sequence[Path]) -> float:
    """Over all images and outputs; boxes are compared as shares of the input's side."""
    runtime = session(path)
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for image in images:
        inputs = [torch.from_numpy(network_input(name, read_still(image), (size, size)))]
        if name == "colorizer":
            inputs.append(torch.randn(1, 1000, generator=generator) * 2)
        with torch.no_grad():
            expected = network(*inputs)
        feed = {i.name: t.numpy() for i, t in zip(runtime.get_inputs(), inputs, strict=True)}
        got = runtime.run(None, feed)
        if name == "recognizer":
            difference = _detections_differ([t.numpy() for t in expected], got, size)
        else:
            difference = float(np.abs(expected.numpy() - got[0]).max())
        worst = max(worst, difference)
    return worst


def _detections_differ(expected: list[Float32Array], got: list[Float32Array], size: int) -> float:
    """Largest difference of scores slot by slot, and of each box from its nearest namesake of the same score.

    Slots are not compared box by box: two detections whose scores tie may change places.
    """
    boxes, scores, labels = (a[0] for a in expected)
    other_boxes, other_scores, other_labels = (a[0] for a in got)
    worst = float(np.abs(scores - other_scores).max())
    for box, score, label in zip(boxes[scores > 0], scores[scores > 0], labels[scores > 0], strict=True):
        same = (other_labels == label) & (np.abs(other_scores - score) < TOLERANCE)
        distance = np.abs(other_boxes[same] - box).max(axis=1, initial=0.0) / size
        worst = max(worst, float(distance.min(initial=np.inf)))
    return worst
