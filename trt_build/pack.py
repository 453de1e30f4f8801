"""Exported graphs to a bundle: measure every precision on the same images, then ship those that are wanted."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from edge.bundle import load_bundle, sha256_of, write_manifest
from edge.errors import InputError, TapetumError
from edge.manifest import MODEL_NAMES, Calibration, GraphFile, Manifest, ModelEntry, ModelName, Precision
from edge.networks import Networks
from trt_build.evaluate import evaluate_colour, evaluate_detection
from trt_build.graphs import graph_path, preprocessing_of, read_card, read_interface

PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")
Accuracy = dict[ModelName, dict[Precision, dict[str, float]]]


@dataclass(frozen=True)
class Judges:
    """What accuracy is measured on; each part may be absent."""

    colour_images: Sequence[Path] = ()
    coco: Path | None = None
    coco_images: Path | None = None


def pack(
    graphs: Path,
    out: Path,
    *,
    name: str,
    version: str,
    chosen: Precision,
    ship: Sequence[Precision],
    judges: Judges,
    calibration: Calibration | None,
) -> Manifest:
    """Write a bundle into the new folder `out`.

    Every precision that was exported is measured; those in `ship` are copied. `chosen` is what "auto" means.

    Raises:
        InputError: a graph or card is missing, or `out` exists with other content.
    """
    if chosen not in ship:
        raise InputError(f"the chosen precision {chosen} is not among those to ship: {', '.join(ship)}")
    if out.exists() and any(out.iterdir()) and not (out / "manifest.json").exists():
        raise InputError(f"{out}: holds other files: choose a new folder for the bundle")
    manifest = _manifest(graphs, name, version, chosen, calibration)
    accuracy = _measure(graphs, manifest, judges)
    models = {}
    for model, entry in manifest.models.items():
        shipped = {p: g for p, g in entry.precisions.items() if p in ship}
        update = {"precisions": shipped, "accuracy": accuracy.get(model, {})}
        models[model] = entry.model_copy(update=update)
    manifest = manifest.model_copy(update={"models": models})
    _write(graphs, out, manifest)
    return manifest


def _manifest(graphs: Path, name: str, version: str, chosen: Precision, calibration: Calibration | None) -> Manifest:
    models: dict[ModelName, ModelEntry] = {}
    provenance: dict[str, str] = {}
    for model in MODEL_NAMES:
        provenance |= {f"{model}.{key}": value for key, value in read_card(graphs, model).provenance.items()}
        inputs, outputs = read_interface(graph_path(graphs, model, "fp32"))
        models[model] = ModelEntry(
            inputs=inputs,
            outputs=outputs,
            preprocessing=preprocessing_of(model),
            precisions={
                p: _graph_file(graphs, model, p) for p in PRECISIONS if graph_path(graphs, model, p).exists()
            },
            chosen=chosen,
        )
    return Manifest(
        schema=1,
        name=name,
        version=version,
        created_at=datetime.now(timezone.utc).replace(microsecond=0),
        labels=tuple(read_card(graphs, "recognizer").labels),
        models=models,
        calibration=calibration,
        provenance=provenance,
    )


def _graph_file(graphs: Path, model: ModelName, precision: Precision) -> GraphFile:
    path = graph_path(graphs, model, precision)
    return GraphFile(file=path.name, sha256=sha256_of(path), bytes=path.stat().st_size)


def _measure(graphs: Path, manifest: Manifest, judges: Judges) -> Accuracy:
    """Accuracy of each precision, through the runtime; the graphs' folder serves as a bundle for that time."""
    accuracy: Accuracy = {"colorizer": {}, "recognizer": {}}
    write_manifest(graphs, manifest)
    for precision in manifest.models["recognizer"].precisions:
        with Networks(load_bundle(graphs, precision)) as networks:
            if judges.colour_images:
                accuracy["colorizer"][precision] = evaluate_colour(networks, judges.colour_images)
            if judges.coco and judges.coco_images:
                accuracy["recognizer"][precision] = evaluate_detection(networks, judges.coco, judges.coco_images)
    return accuracy


def _write(graphs: Path, out: Path, manifest: Manifest) -> None:
    """Graphs first, the manifest last: a bundle without its manifest is not one yet."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "manifest.json").unlink(missing_ok=True)
        for entry in manifest.models.values():
            for graph in entry.precisions.values():
                shutil.copyfile(graphs / graph.file, out / graph.file)
        write_manifest(out, manifest)
    except OSError as error:
        raise TapetumError(f"{out}: cannot write the bundle: {error.strerror}") from error
