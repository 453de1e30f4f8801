"""Graphs and bundles of the hand-written networks of tests/edge/tiny_bundle.py, and ways to spoil them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import helper, numpy_helper

from edge.bundles.bundle import read_manifest, sha256_of, write_manifest
from edge.bundles.manifest import MODEL_NAMES, PRECISIONS, Calibration, ModelName, Precision
from tests.edge.tiny_bundle import LABELS, make_tiny_bundle
from trt_build.graphs import GraphCard, graph_path, write_card

BOX = (60, 40, 80, 60)  # x, y, w, h of what is bright in every picture


def make_tiny_graphs(folder: Path) -> Path:
    """A folder as `export` and `quantize` leave it: fp32 and int8 of each network."""
    bundle = make_tiny_bundle(folder.with_name(f"{folder.name}_bundle"))
    folder.mkdir(parents=True)
    for model in MODEL_NAMES:
        for precision, graph in read_manifest(bundle).models[model].precisions.items():
            shutil.copy(bundle / graph.file, graph_path(folder, model, precision))
        labels = list(LABELS) if model == "recognizer" else []
        write_card(folder, GraphCard(model, labels, {"command": f"by hand: {model}"}))
    calibration = Calibration(images=16, sha256="1" * 64)
    (folder / "calibration.json").write_text(calibration.model_dump_json(), encoding="utf-8")
    return folder


def spoil(
    folder: Path, model: ModelName, precision: Precision, output: str, *, scale: float = 1.0, shift: float = 0.0
) -> None:
    """Make a bundle's network compute scale * output + shift, and declare the graph as it then is."""
    manifest = read_manifest(folder)
    entry = manifest.models[model]
    path = folder / entry.precisions[precision].file
    graph = onnx.load(path)
    _replace_output(graph.graph, output, scale, shift)
    onnx.save(graph, path)
    update = {"sha256": sha256_of(path), "bytes": path.stat().st_size}
    file = entry.precisions[precision].model_copy(update=update)
    changed = entry.model_copy(update={"precisions": {**entry.precisions, precision: file}})
    write_manifest(folder, manifest.model_copy(update={"models": {**manifest.models, model: changed}}))


def _replace_output(graph: onnx.GraphProto, output: str, scale: float, shift: float) -> None:
    last = next(node for node in graph.node if output in node.output)
    last.output[list(last.output).index(output)] = "sound"
    graph.initializer.extend(
        [numpy_helper.from_array(np.float32(scale), "scale"), numpy_helper.from_array(np.float32(shift), "shift_by")]
    )
    graph.node.append(helper.make_node("Mul", ["sound", "scale"], ["scaled"]))
    graph.node.append(helper.make_node("Add", ["scaled", "shift_by"], [output]))


def add_fp16(folder: Path, model: ModelName) -> None:
    """A third precision, the same as fp32 in another file."""
    manifest = read_manifest(folder)
    entry = manifest.models[model]
    graph = entry.precisions["fp32"].model_copy(update={"file": f"{model}.fp16.onnx"})
    shutil.copy(folder / entry.precisions["fp32"].file, folder / graph.file)
    there = {**entry.precisions, "fp16": graph}
    ordered = {precision: there[precision] for precision in PRECISIONS if precision in there}
    changed = entry.model_copy(update={"precisions": ordered})
    write_manifest(folder, manifest.model_copy(update={"models": {**manifest.models, model: changed}}))


def write_subjects(folder: Path, count: int = 3) -> tuple[Path, Path]:
    """Colour photographs in which one thing is bright, a "dog"; their folder and the COCO annotations."""
    images = folder / "images"
    images.mkdir(parents=True)
    for i in range(count):
        rows = np.linspace(20, 120, 160, dtype=np.uint8)[:, None, None]
        image = np.broadcast_to(rows * np.array([0.9, 0.7, 0.5]) + 9 * i, (160, 240, 3)).astype(np.uint8)
        x, y, w, h = BOX
        image[y : y + h, x : x + w] = (235, 240, 250)
        cv2.imwrite(str(images / f"{i}.png"), image)
    document = {
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": 240, "height": 160, "labelled": ["dog"]} for i in range(count)
        ],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "bbox": list(BOX), "area": BOX[2] * BOX[3], "iscrowd": 0}
            for i in range(count)
        ],
        "categories": [{"id": 1, "name": "dog"}],
    }
    (folder / "coco.json").write_text(json.dumps(document), encoding="utf-8")
    return images, folder / "coco.json"
