"""Exported graphs to a bundle: measure every precision on the same images, then ship those that are wanted."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from edge.atomic import replacing
from edge.bundle import MANIFEST, Bundle, load_bundle, sha256_of, write_manifest
from edge.errors import InputError
from edge.manifest import (
    MODEL_NAMES,
    PRECISIONS,
    SCHEMA,
    Calibration,
    GraphFile,
    Manifest,
    ModelEntry,
    ModelName,
    Precision,
)
from edge.media import VIDEO_SUFFIXES
from edge.networks import Networks
from trt_build.evaluate import evaluate_colour, evaluate_detection
from trt_build.graphs import (
    GraphCard,
    card_path,
    graph_path,
    preprocessing_of,
    read_card,
    read_interface,
    write_card,
)

BESIDE_A_MANIFEST = {".onnx", ".txt", *VIDEO_SUFFIXES}  # a demo has a clip and its licence too
Accuracy = dict[ModelName, dict[Precision, dict[str, float]]]


@dataclass(frozen=True)
class Judges:
    """What accuracy is measured on; each part may be absent."""

    colour_images: Sequence[Path] = ()
    coco: Path | None = None
    coco_images: Path | None = None
    boxed_only: bool = False  # leave out images in which people boxed nothing


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
    base: Path | None = None,
) -> Manifest:
    """Write a bundle into `out`: a new folder, an older bundle, or one that holds a demo's clip alone so far.

    Every precision that was exported is measured; those in `ship` are copied. `chosen` is what "auto" means. Networks
    that `graphs` lacks are taken from the bundle `base`, in the precisions that it has: a site trains its colorizer
    and keeps the recognizer.

    Raises:
        InputError: a graph or card is missing, or `out` holds other files.
        BundleError: `base` is not a bundle.
        OSError: `graphs` or `out` cannot be written.
    """
    if chosen not in ship:
        raise InputError(f"the chosen precision {chosen} is not among those to ship: {', '.join(ship)}")
    foreign = [p.name for p in out.iterdir() if not _may_be_in_a_bundle(p)] if out.exists() else []
    if foreign:
        raise InputError(f"{out}: holds other files ({min(foreign)}): choose a new folder for the bundle")
    known = _borrow(graphs, base) if base else {}
    manifest = _manifest(graphs, name, version, chosen, calibration)
    accuracy = known | _measure(graphs, manifest, judges)
    models = {}
    for model, entry in manifest.models.items():
        shipped = {p: g for p, g in entry.precisions.items() if p in ship}
        update = {"precisions": shipped, "accuracy": accuracy.get(model, {})}
        models[model] = entry.model_copy(update=update)
    manifest = manifest.model_copy(update={"models": models})
    _write(graphs, out, manifest)
    return manifest


def _may_be_in_a_bundle(path: Path) -> bool:
    hidden = path.name.startswith(".")  # among them what a killed `pack` left behind
    return hidden or path.name == MANIFEST or path.suffix in BESIDE_A_MANIFEST


def _borrow(graphs: Path, base: Path) -> Accuracy:
    """Copy graphs and cards of the networks that the folder has no card of; what was measured of them."""
    manifest = load_bundle(base).manifest
    accuracy: Accuracy = {}
    for model in MODEL_NAMES:
        if card_path(graphs, model).exists():
            continue
        for precision, graph in manifest.models[model].precisions.items():
            with replacing(graph_path(graphs, model, precision)) as temporary:
                shutil.copyfile(base / graph.file, temporary)
        own = {k.removeprefix(f"{model}."): v for k, v in manifest.provenance.items() if k.startswith(f"{model}.")}
        provenance = own | {"from": f"bundle {manifest.name} {manifest.version}"}
        write_card(graphs, GraphCard(model, list(manifest.labels) if model == "recognizer" else [], provenance))
        accuracy[model] = manifest.models[model].accuracy
    return accuracy


def _manifest(graphs: Path, name: str, version: str, chosen: Precision, calibration: Calibration | None) -> Manifest:
    cards = {model: read_card(graphs, model) for model in MODEL_NAMES}
    lacking = [model for model in MODEL_NAMES if not graph_path(graphs, model, chosen).exists()]
    if lacking:
        command = "quantize" if chosen == "int8" else "export"
        raise InputError(
            f"{graphs}: no {chosen} graph of {', '.join(lacking)}: run tapetum-build {command}, or see --chosen"
        )
    models: dict[ModelName, ModelEntry] = {}
    for model in MODEL_NAMES:
        inputs, outputs = read_interface(graph_path(graphs, model, chosen))
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
        schema=SCHEMA,
        name=name,
        version=version,
        created_at=datetime.now(timezone.utc).replace(microsecond=0),
        labels=tuple(cards["recognizer"].labels),
        models=models,
        calibration=calibration,
        provenance={f"{m}.{key}": value for m, card in cards.items() for key, value in card.provenance.items()},
    )


def _graph_file(graphs: Path, model: ModelName, precision: Precision) -> GraphFile:
    path = graph_path(graphs, model, precision)
    return GraphFile(file=path.name, sha256=sha256_of(path), bytes=path.stat().st_size)


def _measure(graphs: Path, manifest: Manifest, judges: Judges) -> Accuracy:
    """Accuracy of each network in each precision that it has, through the runtime."""
    accuracy: Accuracy = {}
    for precision in PRECISIONS:
        there = {model for model, entry in manifest.models.items() if precision in entry.precisions}
        colour = judges.colour_images if {"context", "colorizer"} <= there else ()
        coco = judges.coco if "recognizer" in there else None
        if not (colour or coco):
            continue
        with Networks(Bundle(graphs.absolute(), _all_in(precision, manifest), precision)) as networks:
            if colour:
                accuracy.setdefault("colorizer", {})[precision] = evaluate_colour(networks, colour)
            if coco and judges.coco_images:
                accuracy.setdefault("recognizer", {})[precision] = evaluate_detection(
                    networks, coco, judges.coco_images, boxed_only=judges.boxed_only
                )
    return accuracy


def _all_in(precision: Precision, manifest: Manifest) -> Manifest:
    """A manifest to measure by: networks that lack the precision stand in with one that they have."""
    models = {
        model: entry.model_copy(
            update={"precisions": {precision: entry.precisions.get(precision, entry.precisions[entry.chosen])}}
        )
        for model, entry in manifest.models.items()
    }
    return manifest.model_copy(update={"models": models})


def _write(graphs: Path, out: Path, manifest: Manifest) -> None:
    """Copy the graphs, then write the manifest, then remove the graphs that it does not name.

    Each file is replaced at once, and `out` never lacks a manifest that it had: interrupted at any point, the same
    command completes it. Whoever reads an older bundle meanwhile finds the old manifest beside a new graph; its
    sha256 does not match, so it is refused rather than mixed.
    """
    out.mkdir(parents=True, exist_ok=True)
    shipped = {graph.file for entry in manifest.models.values() for graph in entry.precisions.values()}
    for file in sorted(shipped):
        with replacing(out / file) as temporary:
            shutil.copyfile(graphs / file, temporary)
    write_manifest(out, manifest)
    for path in out.glob("*.onnx"):
        if path.name not in shipped:
            path.unlink()
