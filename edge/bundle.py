"""The model bundle: a folder with a manifest and the ONNX graphs that it names. Format: docs/bundle.md.

`tapetum-build pack` writes it, everything else reads it through `load_bundle`, which checks once what the rest of the
code then relies on: that the manifest is whole, and that each graph in use is the file that was packed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError
from pydantic_core import from_json

from edge.atomic import write_atomic
from edge.errors import BundleError
from edge.manifest import MODEL_NAMES, SCHEMA, GraphFile, Manifest, ModelName

MANIFEST = "manifest.json"
DEMO_BUNDLE = Path(__file__).parent / "models" / "demo"

PrecisionChoice = Literal["auto", "fp32", "fp16", "int8"]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A checked bundle. `folder` is absolute; `precision` is what it was loaded for."""

    folder: Path
    manifest: Manifest
    precision: PrecisionChoice

    def model_path(self, model: ModelName, precision: PrecisionChoice | None = None) -> Path:
        """The ONNX file of a model; without `precision`, in the precision the bundle was loaded for.

        Raises:
            BundleError: the bundle has no such precision.
        """
        return self.folder / _graph(self.manifest, model, precision or self.precision).file


def load_bundle(folder: Path, precision: PrecisionChoice = "auto") -> Bundle:
    """Read the manifest and check the graphs of the wanted precision ("auto": the manifest's choice).

    Raises:
        BundleError: missing, altered, of a newer schema, or without that precision.
    """
    manifest = read_manifest(folder)
    for model in MODEL_NAMES:
        _check_file(folder, _graph(manifest, model, precision))
    return Bundle(folder.absolute(), manifest, precision)


def read_manifest(folder: Path) -> Manifest:
    """Read and check manifest.json alone.

    Raises:
        BundleError: it is missing, is not JSON, or does not hold what docs/bundle.md asks for.
    """
    path = folder / MANIFEST
    try:
        text = path.read_text(encoding="utf-8")
        document = from_json(text)
    except OSError as error:
        raise BundleError(
            f"{path}: cannot read the bundle's manifest: {error.strerror}: give the folder of a model bundle"
        ) from error
    except ValueError as error:
        raise BundleError(f"{path}: not valid JSON: {error}: install the bundle again") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if not isinstance(schema, int):
        raise BundleError(f"{path}: no schema number: not the manifest of a model bundle")
    if schema > SCHEMA:
        raise BundleError(f"{path}: schema {schema} is newer than this Tapetum reads ({SCHEMA}): update Tapetum")
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        faults = "; ".join(_explain(item["loc"], item["msg"]) for item in error.errors())
        raise BundleError(f"{path}: not a valid manifest: {faults}: pack the bundle again") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write manifest.json into the bundle's folder, atomically.

    Raises:
        OSError: it cannot be written; an older manifest is as it was.
    """
    text = manifest.model_dump_json(by_alias=True, indent=2)
    write_atomic(folder / MANIFEST, text.encode() + b"\n")


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _graph(manifest: Manifest, model: ModelName, precision: PrecisionChoice) -> GraphFile:
    entry = manifest.models[model]
    wanted = entry.chosen if precision == "auto" else precision
    if wanted not in entry.precisions:
        there = " or ".join(["auto", *entry.precisions])
        raise BundleError(f"bundle {manifest.name} has no {wanted} {model}: choose precision {there}")
    return entry.precisions[wanted]


def _check_file(folder: Path, graph: GraphFile) -> None:
    path = folder / graph.file
    try:
        size = path.stat().st_size
        digest = sha256_of(path) if size == graph.bytes else None
    except OSError as error:
        raise BundleError(f"{path}: cannot read the model: {error.strerror}: install the bundle again") from error
    if digest is None:
        raise BundleError(f"{path}: {size} bytes instead of {graph.bytes}: altered: install the bundle again")
    if digest != graph.sha256:
        raise BundleError(f"{path}: sha256 differs from the manifest: altered: install the bundle again")


def _explain(location: Iterable[str | int], message: str) -> str:
    key = ".".join(map(str, location)) or "top level"
    return f"{key}: {message.removeprefix('Value error, ')}"
