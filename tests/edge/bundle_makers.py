"""Small bundles in versions, signed, packed, or wrong in one way: for the tests of updates."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from edge.bundles.bundle import MANIFEST, read_manifest, write_manifest
from edge.bundles.contents import open_contents
from edge.bundles.install import install
from edge.bundles.signature import SIGNATURE
from edge.bundles.store import BundleStore
from tests.edge import spoilt_bundle
from tests.edge.tiny_bundle import make_tiny_bundle
from trt_build.signing import encode_signature, read_private_key

FIRST = datetime(2024, 1, 1, tzinfo=timezone.utc)


def release(bundle: Path, folder: Path, version: str, *, name: str = "tiny") -> Path:
    """A copy that is another version, packed the later the higher its last number is."""
    if bundle != folder:
        shutil.copytree(bundle, folder, ignore=shutil.ignore_patterns(SIGNATURE))
    packed = FIRST + timedelta(days=int(version.split(".")[-1]))
    manifest = read_manifest(folder).model_copy(update={"version": version, "name": name, "created_at": packed})
    write_manifest(folder, manifest)
    return folder


def sign(folder: Path, key: Path) -> Path:
    content = (folder / MANIFEST).read_bytes()
    (folder / SIGNATURE).write_bytes(encode_signature(content, read_private_key(key)))
    return folder


def pack(folder: Path, archive: Path) -> Path:
    """As `tar czf` does it."""
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    return archive


def pack_entries(archive: Path, entries: Iterable[tuple[tarfile.TarInfo, bytes]]) -> Path:
    """Any entries in any order."""
    with tarfile.open(archive, "w:gz") as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return archive


def blind(bundle: Path, folder: Path, version: str) -> Path:
    """A release whose recognizer finds nothing."""
    spoilt_bundle.with_graph(bundle, folder, "recognizer", _with_constant(bundle, "recognizer", "sure", 0.0))
    return release(folder, folder, version)


def not_finite(bundle: Path, folder: Path, version: str) -> Path:
    """A release whose colorizer gives NaN."""
    spoilt_bundle.with_graph(bundle, folder, "colorizer", _with_constant(bundle, "colorizer", "bias", np.nan))
    return release(folder, folder, version)


def colourless(bundle: Path, folder: Path, version: str) -> Path:
    """A release whose colorizer gives grey, which is finite."""
    graph = onnx.load_from_string(_with_constant(bundle, "colorizer", "bias", 0.0))
    for name in ("weight", "only_a"):
        _set(graph, name, 0.0)
    spoilt_bundle.with_graph(bundle, folder, "colorizer", graph.SerializeToString())
    return release(folder, folder, version)


def stored(store: BundleStore, folder: Path) -> str:
    """Install a folder without asking for a signature; returns its name in the store."""
    with open_contents(folder) as contents:
        return install(contents, store, None).bundle


@cache
def tiny(folder: Path) -> Path:
    """One tiny bundle, made once."""
    return make_tiny_bundle(folder)


def _with_constant(bundle: Path, model: str, name: str, value: float) -> bytes:
    graph = onnx.load(bundle / f"{model}_fp32.onnx")
    _set(graph, name, value)
    content: bytes = graph.SerializeToString()
    return content


def _set(graph: onnx.ModelProto, name: str, value: float) -> None:
    (constant,) = [each for each in graph.graph.initializer if each.name == name]
    array = numpy_helper.to_array(constant)
    constant.CopyFrom(numpy_helper.from_array(np.full_like(array, value), name))
