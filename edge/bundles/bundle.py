"""The model bundle: a folder with a manifest and the ONNX graphs that it names. Format: docs/bundle.md.

`tapetum-build pack` writes it, everything else reads it through `load_bundle`, which checks once what the rest of the
code then relies on: who signed it where that is asked for, that the manifest is whole, and that each graph in use is
the file that was packed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError
from pydantic_core import from_json

from edge.atomic import write_atomic
from edge.bundles.files import read_plain
from edge.bundles.manifest import MODEL_NAMES, SCHEMA, GraphFile, Manifest, ModelName, Precision, explain
from edge.errors import BundleError, one_line

MANIFEST = "manifest.json"
LARGEST_MANIFEST = 4 << 20  # bytes; the demo's has 12 KB
DEMO_BUNDLE = Path(__file__).parents[1] / "models" / "demo"

PrecisionChoice = Literal["auto", "fp32", "fp16", "int8"]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A checked bundle. `folder` is absolute; `precision` is what it was loaded for."""

    folder: Path
    manifest: Manifest
    precision: PrecisionChoice
    allow_refused: bool = False

    @property
    def is_shipped(self) -> bool:
        """Whether it came with Tapetum: a part of it, which no key has signed."""
        return self.folder == DEMO_BUNDLE

    def precision_of(self, model: ModelName, precision: PrecisionChoice | None = None) -> Precision:
        """What "auto", or without `precision` what the bundle was loaded for, means for a model.

        Raises:
            BundleError: the bundle has no such precision, or its gate refused it.
        """
        entry, choice = self.manifest.models[model], precision or self.precision
        wanted = entry.chosen if choice == "auto" else choice
        if wanted not in entry.precisions:
            there = " or ".join(["auto", *entry.precisions])
            raise BundleError(f"bundle {self.manifest.name} has no {wanted} {model}: choose precision {there}")
        if wanted in entry.refused and not self.allow_refused:
            raise BundleError(self._refusal(model, wanted))
        return wanted

    def graph(self, model: ModelName, precision: PrecisionChoice | None = None) -> GraphFile:
        """What the manifest says of a model's ONNX file; arguments and errors are those of `precision_of`."""
        return self.manifest.models[model].precisions[self.precision_of(model, precision)]

    def model_path(self, model: ModelName, precision: PrecisionChoice | None = None) -> Path:
        """A model's ONNX file; arguments and errors are those of `precision_of`."""
        return self.folder / self.graph(model, precision).file

    def read_graph(self, model: ModelName) -> bytes:
        """The content of a model's ONNX file, checked: what runs is what was packed, whatever happens to the file.

        Raises:
            BundleError: it is missing or altered.
        """
        return read_graph(self.folder, self.graph(model))

    def _refusal(self, model: ModelName, precision: Precision) -> str:
        entry = self.manifest.models[model]
        others = [other for other in entry.precisions if other not in entry.refused]
        cure = f"choose precision {' or '.join(others)}, or" if others else "install a better bundle, or"
        return (
            f"bundle {self.manifest.name}: the {precision} {model} is refused: {one_line(entry.refused[precision])}: "
            f"{cure} insist with allow_refused = true or --allow-refused"
        )


def load_bundle(
    folder: Path,
    precision: PrecisionChoice = "auto",
    *,
    public_key: Path | None = None,
    allow_refused: bool = False,
) -> Bundle:
    """Read the manifest and check the graphs of the wanted precision ("auto": the manifest's choice).

    Args:
        public_key: PEM file of the key that must have signed the bundle; None asks for no signature.
        allow_refused: also a precision that the gate of `tapetum-build evaluate` refused.

    Raises:
        BundleError: missing, altered, of a newer schema, without that precision or with a refused one; or not signed
            by that key.
        ConfigError: the public key cannot be read.
    """
    manifest = read_manifest(folder, public_key=public_key)
    bundle = Bundle(folder.absolute(), manifest, precision, allow_refused)
    for model in MODEL_NAMES:
        check_graph(folder, bundle.graph(model))
    return bundle


def read_manifest(folder: Path, *, public_key: Path | None = None) -> Manifest:
    """Read and check manifest.json alone; with a key its signature first, over the very bytes that are then parsed.

    Raises:
        BundleError: it is missing, is not signed by that key, is not JSON, or does not hold what docs/bundle.md asks
            for.
        ConfigError: the public key cannot be read.
    """
    content = manifest_bytes(folder)
    if public_key is not None:
        from edge.bundles.signature import (
            check_signature,  # a unit that asks for no signature needs no OpenSSL in memory
        )

        check_signature(folder, content, public_key)
    return parse_manifest(content, folder / MANIFEST)


def manifest_bytes(folder: Path) -> bytes:
    """The content of manifest.json, not checked.

    Raises:
        BundleError: it cannot be read.
    """
    path = folder / MANIFEST
    try:
        return read_plain(path, LARGEST_MANIFEST)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise BundleError(
            f"{path}: cannot read the bundle's manifest: {reason}: give the folder of a model bundle"
        ) from error


def parse_manifest(content: bytes, path: Path) -> Manifest:
    """Check what stands in a manifest; `path` names it in messages.

    Raises:
        BundleError: it is not JSON, of a newer schema, or does not hold what docs/bundle.md asks for.
    """
    try:
        document = from_json(content)
    except ValueError as error:
        raise BundleError(f"{path}: not valid JSON: {error}: install the bundle again") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if type(schema) is not int:  # true is an int to isinstance
        raise BundleError(f"{path}: no schema number: not the manifest of a model bundle")
    if schema > SCHEMA:
        raise BundleError(f"{path}: schema {schema} is newer than this Tapetum reads ({SCHEMA}): update Tapetum")
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        raise BundleError(f"{path}: not a valid manifest: {explain(error)}: pack the bundle again") from error


def encode_manifest(manifest: Manifest) -> bytes:
    """What manifest.json holds; always in the newest schema."""
    newest = manifest.model_copy(update={"schema_number": SCHEMA})
    return newest.model_dump_json(by_alias=True, indent=2).encode() + b"\n"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write manifest.json into the bundle's folder, atomically.

    Raises:
        OSError: it cannot be written; an older manifest is as it was.
    """
    write_atomic(folder / MANIFEST, encode_manifest(manifest))


def check_graph(folder: Path, graph: GraphFile) -> None:
    """Check that a graph is the file that was packed.

    Raises:
        BundleError: it is missing, or its size or sha256 differ.
    """
    path = folder / graph.file
    try:
        size = path.stat().st_size
        digest = sha256_of(path) if size == graph.bytes else None
    except OSError as error:
        raise _unreadable(path, error) from error
    _check_content(path, graph, size, digest)


def read_graph(folder: Path, graph: GraphFile) -> bytes:
    """The content of a graph, which is what was packed.

    Raises:
        BundleError: it is missing, or its size or sha256 differ.
    """
    path = folder / graph.file
    try:
        content = read_plain(path, graph.bytes)
    except OSError as error:
        raise _unreadable(path, error) from error
    _check_content(path, graph, len(content), hashlib.sha256(content).hexdigest())
    return content


def _check_content(path: Path, graph: GraphFile, size: int, digest: str | None) -> None:
    if size != graph.bytes:
        raise BundleError(f"{path}: {size} bytes instead of {graph.bytes}: altered: install the bundle again")
    if digest != graph.sha256:
        raise BundleError(f"{path}: sha256 differs from the manifest: altered: install the bundle again")


def _unreadable(path: Path, error: OSError) -> BundleError:
    return BundleError(f"{path}: cannot read the model: {error.strerror}: install the bundle again")


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
