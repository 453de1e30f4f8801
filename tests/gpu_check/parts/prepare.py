"""Bundles of both variants in all precisions: of graphs that the kit brought, else of networks of random weights.

What a network costs does not depend on its weights. How far an engine is from ONNX Runtime does a little: the entries
`weights` say what they were.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from edge.bundles.manifest import MODEL_NAMES
from tests.gpu_check.driver import need_driver
from tests.gpu_check.figures import Figures
from tests.gpu_check.places import folder, images, input_side, kit_graphs, labels
from trt_build.graphs import graph_path, spread
from trt_build.pack import pack
from trt_build.precision.write import write_fp16, write_int8

CALIBRATED = 16  # frames: enough for ranges of measurements, not for those of a product


def bundle(figures: Figures, variant: str) -> None:
    """The variant's bundle, in folder()/variant/bundle."""
    need_driver()
    make_bundle(figures, variant, spread(images(), CALIBRATED))


def make_bundle(figures: Figures, variant: str, frames: Sequence[Path]) -> None:
    """The same also where there is no GPU."""
    work = folder() / variant
    shutil.rmtree(work, ignore_errors=True)
    graphs = work / "graphs"
    brought = kit_graphs(variant)
    figures["weights"] = "the kit's" if brought.is_dir() else "random"
    if brought.is_dir():
        shutil.copytree(brought, graphs)
    else:
        _export_random(variant, graphs, frames[:2])
    for name in MODEL_NAMES:
        with figures.going_on(f"{name} fp16"):
            if not graph_path(graphs, name, "fp16").exists():
                write_fp16(graphs, name, frames)
        with figures.going_on(f"{name} int8"):
            if not graph_path(graphs, name, "int8").exists():
                write_int8(graphs, name, frames)
    pack(graphs, work / "bundle", name=f"gpu-check-{variant}", chosen="auto")
    figures["precisions"] = sorted(path.name for path in graphs.glob("*.onnx"))


def _export_random(variant: str, graphs: Path, frames: Sequence[Path]) -> None:
    """Networks as they are initialised, by the way that checkpoints go."""
    import torch

    from training.checkpoint import Card, save_weights
    from training.models.catalogue import build
    from trt_build.export import export

    torch.manual_seed(0)
    for name in ("colorizer", "recognizer"):
        side = input_side(name)
        network = build(name, variant, labels=len(labels()), input_size=side)
        card = Card(name, variant, list(labels()) if name == "recognizer" else [], side)
        run = graphs.with_name(f"run-{name}")
        run.mkdir(parents=True, exist_ok=True)
        save_weights(run, network.state_dict(), card)
        export(run, graphs, frames)
