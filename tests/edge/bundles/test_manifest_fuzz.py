"""Whatever stands in manifest.json and manifest.sig, a reader gets what it declares or one clear line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.bundles.bundle import encode_manifest, parse_manifest, read_manifest
from edge.bundles.manifest import Manifest
from edge.bundles.signature import Signature, read_signature
from edge.errors import BundleError
from tests.edge.tiny_bundle import make_tiny_bundle

thorough = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
DOCUMENTS = st.dictionaries(st.sampled_from(["schema", "name", "models", "labels", "a\nkey"]), VALUES)
SIGNATURE = {"algorithm": "Ed25519", "key": "0" * 64, "signature": "A" * 86 + "=="}


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return (make_tiny_bundle(tmp_path_factory.mktemp("bundle")) / "manifest.json").read_bytes()


def read(content: bytes) -> Manifest | None:
    """The manifest, or None after an error of one printable line."""
    try:
        return parse_manifest(content, Path("manifest.json"))
    except BundleError as error:
        assert str(error).startswith("manifest.json: ") and str(error).isprintable()
        return None


def places(node: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place of a JSON document, as keys and indices."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(place for key, value in inner for place in places(value, (*path, key)))]


def replaced(document: Any, place: tuple[str | int, ...], value: Any) -> Any:
    if not place:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[place[0]] = replaced(copy[place[0]], place[1:], value)
    return copy


@thorough
@given(content=st.binary(max_size=200))
def test_any_bytes(content: bytes) -> None:
    assert read(content) is None


@thorough
@given(document=VALUES | DOCUMENTS, schema=st.sampled_from([1, 2, 3, True, 1.0, "1", 10**30]))
def test_any_json(document: Any, schema: Any) -> None:
    if isinstance(document, dict):
        document = document | {"schema": schema}
    assert read(json.dumps(document).encode()) is None


@thorough
@given(data=st.data())
def test_a_valid_manifest_with_another_value_somewhere(valid: bytes, data: st.DataObject) -> None:
    document = json.loads(valid)
    place = data.draw(st.sampled_from(places(document)))
    manifest = read(json.dumps(replaced(document, place, data.draw(VALUES))).encode())
    if manifest is not None:  # what is read can be written, and is the same when it is read again
        assert read(encode_manifest(manifest)) == manifest.model_copy(update={"schema_number": 2})


@thorough
@given(data=st.data())
def test_a_valid_manifest_with_a_damaged_byte(valid: bytes, data: st.DataObject) -> None:
    where = data.draw(st.integers(0, len(valid) - 2))  # the last byte ends the line, after the document
    read(valid[:where] + bytes([data.draw(st.integers(0, 255))]) + valid[where + 1 :])
    assert read(valid[:where]) is None


@thorough
@given(content=st.binary(max_size=300) | VALUES.map(lambda value: json.dumps(value).encode()), data=st.data())
def test_a_signature_file(tmp_path: Path, content: bytes, data: st.DataObject) -> None:
    key = data.draw(st.sampled_from([*SIGNATURE, "more"]))
    nearly = json.dumps(SIGNATURE | {key: data.draw(VALUES)}).encode()
    for each in (content, nearly):
        (tmp_path / "manifest.sig").write_bytes(each)
        try:
            signature: Signature = read_signature(tmp_path)
        except BundleError as error:
            assert "manifest.sig: damaged: " in str(error) and str(error).isprintable()
        else:
            assert len(signature.value) == 64


def test_what_is_fuzzed_is_valid_to_begin_with(valid: bytes, tmp_path: Path) -> None:
    assert read(valid) is not None
    (tmp_path / "manifest.sig").write_text(json.dumps(SIGNATURE), encoding="utf-8")
    assert read_signature(tmp_path).value == bytes(64)
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(BundleError, match="it is no file"):
        read_manifest(tmp_path)
