"""Bundles that are wrong in a way that their checksums do not show."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from edge.bundles.bundle import read_manifest, sha256_of, write_manifest
from edge.bundles.manifest import ModelEntry, ModelName


def with_graph(bundle: Path, folder: Path, model: ModelName, content: bytes) -> Path:
    """A copy whose fp32 graph of a model has other content, and is declared as it is."""
    shutil.copytree(bundle, folder)
    path = folder / read_manifest(folder).models[model].precisions["fp32"].file
    path.write_bytes(content)

    def declare(entry: ModelEntry) -> ModelEntry:
        file = entry.precisions["fp32"].model_copy(update={"sha256": sha256_of(path), "bytes": len(content)})
        return entry.model_copy(update={"precisions": {**entry.precisions, "fp32": file}})

    _edit(folder, model, declare)
    return folder


def without_fp32(bundle: Path, folder: Path) -> Path:
    """A copy that has int8 only."""
    shutil.copytree(bundle, folder)

    def drop(entry: ModelEntry) -> ModelEntry:
        return entry.model_copy(update={"precisions": {"int8": entry.precisions["int8"]}, "chosen": "int8"})

    for model in read_manifest(folder).models:
        _edit(folder, model, drop)
    return folder


def with_labels(bundle: Path, folder: Path, *labels: str) -> Path:
    """A copy that declares other labels."""
    shutil.copytree(bundle, folder)
    write_manifest(folder, read_manifest(folder).model_copy(update={"labels": labels}))
    return folder


def _edit(folder: Path, model: ModelName, change: Callable[[ModelEntry], ModelEntry]) -> None:
    manifest = read_manifest(folder)
    models = {**manifest.models, model: change(manifest.models[model])}
    write_manifest(folder, manifest.model_copy(update={"models": models}))
