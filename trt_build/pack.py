"""Exported graphs, or a bundle, to a bundle: which precisions ship, which of them is meant by "auto", and who signs.

Nothing is measured here: `evaluate` does that, on the bundle itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.bundles.bundle import MANIFEST, PrecisionChoice, read_manifest, sha256_of
from edge.bundles.manifest import (
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
from edge.bundles.signature import SIGNATURE
from edge.errors import ConfigError, InputError, one_line
from edge.media import VIDEO_SUFFIXES
from trt_build.graphs import calibration_path, card_path, graph_path, preprocessing_of, read_card, read_interface
from trt_build.signing import check_graphs
from trt_build.writing import write_bundle

BESIDE_A_MANIFEST = {".onnx", ".txt", *VIDEO_SUFFIXES}  # a demo has a clip and its licence too
IN_A_BUNDLE = {MANIFEST, SIGNATURE, "engines"}


@dataclass(frozen=True)
class Network:
    """One network to pack: what the manifest will say of it, and where its graphs lie."""

    entry: ModelEntry
    files: dict[Precision, Path]
    labels: tuple[str, ...]
    provenance: dict[str, str]


@dataclass(frozen=True)
class Origin:
    """What is packed. Name and version are None where graphs have none yet."""

    networks: dict[ModelName, Network]
    calibration: Calibration | None = None
    name: str | None = None
    version: str | None = None


def pack(
    source: Path,
    out: Path,
    *,
    name: str | None = None,
    version: str | None = None,
    ship: Sequence[Precision] | None = None,
    chosen: PrecisionChoice | None = None,
    base: Path | None = None,
    key: Ed25519PrivateKey | None = None,
) -> tuple[Manifest, bool]:
    """Write a bundle into `out`: a new folder, an older bundle, or one that holds a demo's clip alone so far.

    Args:
        source: a folder of exported graphs, or a bundle, whose measurements and refusals then come along.
        name, version: of the bundle; a source that is a bundle has its own.
        ship: precisions to copy; None is all.
        chosen: what "auto" means on the unit, fixed; "auto" is the cheapest that is not refused, which `evaluate` may
            move. None leaves a bundle its own while that ships and is not refused, and is "auto" otherwise.
        base: bundle that the networks come from which a folder of graphs lacks: a site trains its colorizer and keeps
            the recognizer.
        key: to sign with.

    Returns:
        The manifest, and whether an older signature in `out` was removed because it no longer fits.

    Raises:
        InputError: a graph or card is missing, no usable precision is left, or `out` holds other files.
        BundleError: a source or base that is a bundle is not whole.
        TapetumError: `out` cannot be written; an older bundle is as it was.
    """
    _check_place(out)
    origin = _of_bundle(source) if is_bundle(source) else _of_graphs(source, base)
    if base and is_bundle(source):
        raise ConfigError("--base belongs to a folder of graphs: a bundle has all its networks")
    title = name or origin.name
    if title is None:
        raise ConfigError("--name is needed: graphs have no name of their own")
    networks = origin.networks
    manifest = Manifest(
        schema=SCHEMA,
        name=title,
        version=version if version is not None else origin.version or "1",
        created_at=datetime.now(timezone.utc).replace(microsecond=0),
        labels=networks["recognizer"].labels,
        models={model: _shipped(source, model, networks[model].entry, ship, chosen) for model in MODEL_NAMES},
        calibration=origin.calibration,
        provenance={f"{m}.{k}": text for m in MODEL_NAMES for k, text in networks[m].provenance.items()},
    )
    return manifest, _write(out, manifest, networks, key)


def is_bundle(folder: Path) -> bool:
    """Whether a folder is a bundle; the other kind, a folder of graphs, has a card for each network."""
    return (folder / MANIFEST).exists() and not any(card_path(folder, model).exists() for model in MODEL_NAMES)


def _check_place(out: Path) -> None:
    foreign = [path.name for path in out.iterdir() if not _may_be_in_a_bundle(path)] if out.is_dir() else []
    if foreign:
        raise InputError(f"{out}: holds other files ({min(foreign)}): choose a new folder for the bundle")


def _may_be_in_a_bundle(path: Path) -> bool:
    hidden = path.name.startswith(".")  # among them what a killed `pack` left behind
    return hidden or path.name in IN_A_BUNDLE or path.suffix in BESIDE_A_MANIFEST


def _of_bundle(folder: Path) -> Origin:
    manifest = read_manifest(folder)
    check_graphs(folder, manifest)
    networks = {}
    for model, entry in manifest.models.items():
        own = {k.removeprefix(f"{model}."): v for k, v in manifest.provenance.items() if k.startswith(f"{model}.")}
        files = {precision: folder / graph.file for precision, graph in entry.precisions.items()}
        networks[model] = Network(entry, files, manifest.labels, own)
    return Origin(networks, manifest.calibration, manifest.name, manifest.version)


def _of_graphs(folder: Path, base: Path | None) -> Origin:
    networks = _borrowed(base) if base else {}
    for model in MODEL_NAMES:
        if model not in networks or card_path(folder, model).exists():
            networks[model] = _exported(folder, model)
    return Origin(networks, _calibration(folder))


def _borrowed(base: Path) -> dict[ModelName, Network]:
    origin = _of_bundle(base)
    source = {"from": f"bundle {origin.name} {origin.version}"}
    return {
        model: replace(network, provenance=network.provenance | source) for model, network in origin.networks.items()
    }


def _exported(folder: Path, model: ModelName) -> Network:
    card = read_card(folder, model)
    paths = {precision: graph_path(folder, model, precision) for precision in PRECISIONS}
    files = {precision: path for precision, path in paths.items() if path.exists()}
    if not files:
        raise InputError(f"{folder}: no graph of the {model}: run tapetum-build export")
    interfaces = {precision: read_interface(path) for precision, path in files.items()}
    first, *others = files  # from the most exact
    for precision in others:
        if interfaces[precision] != interfaces[first]:
            raise InputError(
                f"{files[precision]}: other inputs or outputs than in {first}: export and quantize again"
            )
    inputs, outputs = interfaces[first]
    entry = ModelEntry(
        inputs=inputs,
        outputs=outputs,
        preprocessing=preprocessing_of(model),
        precisions={precision: _graph_file(path) for precision, path in files.items()},
        chosen=(first, *others)[-1],
        float_layers={p: tuple(card.float_layers[p]) for p in files if card.float_layers.get(p)},
    )
    return Network(entry, files, tuple(card.labels), card.provenance)


def _graph_file(path: Path) -> GraphFile:
    return GraphFile(file=path.name, sha256=sha256_of(path), bytes=path.stat().st_size)


def _calibration(graphs: Path) -> Calibration | None:
    path = calibration_path(graphs)
    if not path.exists():
        return None
    try:
        return Calibration.model_validate_json(path.read_bytes())
    except ValueError as error:
        raise InputError(f"{path}: damaged: run tapetum-build quantize again") from error


def _shipped(
    source: Path,
    model: ModelName,
    entry: ModelEntry,
    ship: Sequence[Precision] | None,
    chosen: PrecisionChoice | None,
) -> ModelEntry:
    """The entry with the precisions that ship, and the one that "auto" means."""
    graphs = {
        p: graph.model_copy(update={"file": f"{model}.{p}.onnx"})  # whatever a bundle called it
        for p, graph in entry.precisions.items()
        if ship is None or p in ship
    }
    if not graphs:
        raise InputError(f"{source}: no {' or '.join(ship or ())} graph of the {model}: run tapetum-build quantize")
    shipped = entry.model_copy(update={"precisions": graphs})
    if chosen is None and entry.chosen_fixed:
        chosen = entry.chosen
    if chosen is None and entry.chosen in graphs and entry.chosen not in entry.refused:
        return shipped
    if chosen in (None, "auto"):
        return shipped.model_copy(update={"chosen": _cheapest(source, model, shipped), "chosen_fixed": False})
    if chosen not in graphs:
        raise InputError(
            f"{source}: the chosen precision {chosen} of the {model} is not among those to ship, "
            f"{', '.join(graphs)}: make it with tapetum-build quantize, ship it, or choose another"
        )
    return shipped.model_copy(update={"chosen": chosen, "chosen_fixed": True})


def _cheapest(source: Path, model: ModelName, entry: ModelEntry) -> Precision:
    if entry.cheapest is None:
        reasons = "; ".join(f"{p}: {one_line(entry.refused[p])}" for p in entry.precisions)
        raise InputError(
            f"{source}: no precision to ship of the {model} is left: {reasons}: ship another too, or insist with "
            "--chosen"
        )
    return entry.cheapest


def _write(out: Path, manifest: Manifest, networks: dict[ModelName, Network], key: Ed25519PrivateKey | None) -> bool:
    """Write the bundle, then remove the graphs that it does not name.

    Whoever reads an older bundle in the moment in which the files change places finds the old manifest beside a new
    graph; its sha256 does not match, so it is refused rather than mixed.
    """
    graphs = {
        graph.file: networks[model].files[precision]
        for model, entry in manifest.models.items()
        for precision, graph in entry.precisions.items()
    }
    removed = write_bundle(out, manifest, graphs, key)
    for path in out.glob("*.onnx"):
        if path.name not in graphs:
            path.unlink()
    return removed
