from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from edge.bundles.bundle import load_bundle, read_manifest, sha256_of, write_manifest
from edge.bundles.manifest import MODEL_NAMES, ModelEntry
from edge.errors import BundleError
from tests.edge.tiny_bundle import make_tiny_bundle


@pytest.fixture
def folder(tmp_path) -> Path:
    return make_tiny_bundle(tmp_path / "bundle")


def edit(folder: Path, *keys: str, value: Any) -> None:
    """Set one value of the manifest, by its keys."""
    path = folder / "manifest.json"
    document = section = json.loads(path.read_text())
    for key in keys[:-1]:
        section = section[key]
    section[keys[-1]] = value
    path.write_text(json.dumps(document))


def remove(folder: Path, *keys: str) -> None:
    path = folder / "manifest.json"
    document = section = json.loads(path.read_text())
    for key in keys[:-1]:
        section = section[key]
    del section[keys[-1]]
    path.write_text(json.dumps(document))


def assert_refused(folder: Path, *words: str, precision: Any = "auto") -> None:
    with pytest.raises(BundleError) as caught:
        load_bundle(folder, precision)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_what_is_written_is_read(folder, tmp_path):
    manifest = read_manifest(folder)
    assert manifest.labels == ("cat", "dog")
    assert manifest.models["recognizer"].preprocessing.pad == 0.5
    assert manifest.models["recognizer"].input_size == (320, 320)
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest


@pytest.mark.parametrize("chosen", ["fp32", "int8"])
def test_auto_is_the_choice_of_the_bundle(tmp_path, chosen):
    bundle = load_bundle(make_tiny_bundle(tmp_path, chosen=chosen))
    for model in MODEL_NAMES:
        assert bundle.model_path(model) == tmp_path / f"{model}_{chosen}.onnx"


def test_a_precision_can_be_asked_for(folder):
    bundle = load_bundle(folder, "int8")
    assert bundle.model_path("colorizer").name == "colorizer_int8.onnx"
    assert bundle.model_path("colorizer", "fp32").name == "colorizer_fp32.onnx"


def test_paths_are_absolute(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert load_bundle(Path("bundle")).model_path("context") == folder / "context_fp32.onnx"


def test_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.timeout(20)
def test_a_manifest_that_is_no_file_is_refused(folder):
    """Whoever reads a FIFO waits for somebody who writes."""
    (folder / "manifest.json").unlink()
    os.mkfifo(folder / "manifest.json")
    assert_refused(folder, "cannot read the bundle's manifest: it is no file")


def test_an_altered_graph_is_refused(folder):
    path = folder / "colorizer_fp32.onnx"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert_refused(folder, str(path), "sha256", "install the bundle again")


def test_a_graph_cut_short_is_refused(folder):
    path = folder / "recognizer_fp32.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    assert_refused(folder, str(path), "bytes instead of", "install the bundle again")


def test_a_missing_graph_is_refused(folder):
    (folder / "context_fp32.onnx").unlink()
    assert_refused(folder, str(folder / "context_fp32.onnx"), "No such file", "install the bundle again")


def test_only_the_graphs_in_use_must_be_there(folder):
    for path in folder.glob("*_int8.onnx"):
        path.unlink()
    assert load_bundle(folder).precision == "auto"
    assert_refused(folder, "_int8.onnx", precision="int8")


def test_a_precision_that_the_bundle_lacks_is_told_with_those_it_has(folder):
    remove(folder, "models", "recognizer", "precisions", "int8")
    assert load_bundle(folder)
    assert_refused(folder, "tiny has no int8 recognizer", "choose precision auto or fp32", precision="int8")


def test_a_reason_of_several_lines_is_told_in_one(folder):
    edit(folder, "models", "context", "refused", value={"fp32": "NaN\n\x1b[31m"})
    assert_refused(folder, "is refused: NaN??[31m: choose precision int8")


def test_a_shape_that_no_memory_holds_is_refused(folder):
    edit(folder, "models", "context", "inputs", "luma", "shape", value=[1, 1, 10**30, 1])
    assert_refused(folder, "models.context.inputs.luma.shape.2")


def test_a_refused_precision_is_told_with_its_reason_and_the_cure(folder):
    edit(folder, "models", "recognizer", "refused", value={"int8": "it loses 3.0 points"})
    assert load_bundle(folder).precision_of("recognizer") == "fp32"
    words = "the int8 recognizer is refused: it loses 3.0 points: choose precision fp32, or insist with allow_refused"
    assert_refused(folder, words, precision="int8")
    assert load_bundle(folder, "int8", allow_refused=True).model_path("recognizer").name == "recognizer_int8.onnx"


def test_a_refused_precision_is_refused_also_as_the_choice_of_the_bundle(folder):
    edit(folder, "models", "context", "refused", value={"fp32": "NaN", "int8": "NaN"})
    assert_refused(folder, "the fp32 context is refused: NaN: install a better bundle, or insist")


def test_a_bundle_of_schema_1_is_read(folder):
    edit(folder, "schema", value=1)
    for model in MODEL_NAMES:
        for key in ("judged_on", "cost", "float_layers", "refused", "chosen_fixed"):
            remove(folder, "models", model, key)
    remove(folder, "calibration", "method")
    bundle = load_bundle(folder)
    assert bundle.manifest.schema_number == 1
    write_manifest(folder, bundle.manifest)
    assert read_manifest(folder).schema_number == 2  # what this Tapetum writes, an older one must not misread


def test_the_cheapest_precision_is_the_narrowest_that_is_not_refused(folder):
    entry = read_manifest(folder).models["colorizer"]
    assert entry.cheapest == "int8"
    assert entry.model_copy(update={"refused": {"int8": "NaN"}}).cheapest == "fp32"
    assert entry.model_copy(update={"refused": {"int8": "NaN", "fp32": "NaN"}}).cheapest is None


def test_many_faults_are_one_line_of_the_first(folder):
    edit(folder, "provenance", value={f"key {i}\n": i for i in range(50)})
    assert_refused(folder, "provenance.key 0?: Input should be a valid string", "(and 47 more): pack the bundle")


def test_a_missing_folder_is_refused(tmp_path):
    assert_refused(tmp_path / "nowhere", "nowhere/manifest.json", "No such file", "give the folder of a model bundle")


def test_a_file_is_no_bundle(folder):
    assert_refused(folder / "manifest.json", "Not a directory", "give the folder of a model bundle")


@pytest.mark.parametrize("content", ["", "{", "\xff", "[" * 100_000])
def test_a_manifest_that_is_not_json_is_refused(folder, content):
    (folder / "manifest.json").write_text(content, encoding="latin-1")
    assert_refused(folder, "manifest.json", "not valid JSON", "install the bundle again")


@pytest.mark.parametrize("content", ["[]", "{}", "null", '{"schema": "one"}', '{"schema": true}'])
def test_a_manifest_without_schema_is_refused(folder, content):
    (folder / "manifest.json").write_text(content)
    assert_refused(folder, "manifest.json", "no schema number")


def test_a_newer_schema_says_to_update(folder):
    edit(folder, "schema", value=3)
    edit(folder, "signature", value="of the future")
    assert_refused(folder, "schema 3 is newer than this Tapetum reads (2)", "update Tapetum")


FLOATS = {"dtype": "float32", "shape": [1, 1, 224, 224]}
FAULTS = {
    "unknown key": (("signed",), True, "signed: Extra inputs"),
    "schema of the past": (("schema",), 0, "schema"),
    "coerced type": (("version",), 1, "version: Input should be a valid string"),
    "time without zone": (("created_at",), "2024-01-02T03:04:05", "created_at"),
    "no labels": (("labels",), [], "labels"),
    "labels twice": (("labels",), ["cat", "cat"], "labels are not unique"),
    "unknown model": (("models", "dreamer"), {}, "models.dreamer"),
    "chosen is not there": (("models", "context", "chosen"), "int4", "models.context.chosen"),
    "no such precision": (("models", "context", "precisions"), {}, "chosen precision fp32 is not among"),
    "accuracy is no number": (("models", "context", "accuracy"), {"fp32": {"psnr": "good"}}, "accuracy.fp32.psnr"),
    "sha256 too short": (("models", "context", "precisions", "fp32", "sha256"), "abc", "fp32.sha256"),
    "file outside": (("models", "context", "precisions", "fp32", "file"), "../escape.onnx", "fp32.file"),
    "file in a subfolder": (("models", "context", "precisions", "fp32", "file"), "a/b.onnx", "fp32.file"),
    "absolute file": (("models", "context", "precisions", "fp32", "file"), "/etc/passwd", "fp32.file"),
    "folder as file": (("models", "context", "precisions", "fp32", "file"), "..", "fp32.file"),
    "open shape": (("models", "context", "inputs", "luma", "shape"), [0, 1, 224, 224], "luma.shape"),
    "wrong input": (("models", "context", "inputs"), {"image": FLOATS}, "context inputs must be luma"),
    "wrong axes": (
        ("models", "context", "inputs", "luma", "shape"),
        [1, 3, 224, 224],
        "luma must be float32[1, 1, any",
    ),
    "wrong dtype": (
        ("models", "recognizer", "outputs", "labels", "dtype"),
        "float32",
        "labels must be int64[1, any]",
    ),
    "slots": (
        ("models", "recognizer", "outputs", "labels", "shape"),
        [1, 99],
        "do not agree in their number of slots",
    ),
    "context": (("models", "context", "outputs", "context", "shape"), [1, 99], "is not what the colorizer takes"),
    "pad of a squash": (("models", "context", "preprocessing", "pad"), 0.5, "pad belongs to letterbox"),
    "letterbox": (("models", "context", "preprocessing"), {"resize": "letterbox", "pad": 0.5}, "must be squash"),
    "calibration": (("calibration", "images"), 0, "calibration.images"),
}


@pytest.mark.parametrize("keys, value, word", FAULTS.values(), ids=FAULTS.keys())
def test_a_wrong_manifest_names_the_key(folder, keys, value, word):
    edit(folder, *keys, value=value)
    assert_refused(folder, "manifest.json: not a valid manifest:", word, "pack the bundle again")


@pytest.mark.parametrize("keys", [("models", "colorizer"), ("labels",), ("models", "context", "chosen")])
def test_a_missing_key_is_named(folder, keys):
    remove(folder, *keys)
    assert_refused(folder, "manifest.json: not a valid manifest:", keys[-1])


def test_the_example_in_the_documentation_is_valid():
    text = (Path(__file__).parents[3] / "docs" / "bundle.md").read_text()
    example = re.search(r"```json\n(.*?)```", text, re.DOTALL)
    assert example
    document = json.loads("{" + re.sub("…64 hexadecimal digits…", "0" * 64, example[1]) + "}")
    assert ModelEntry.model_validate_json(json.dumps(document["colorizer"])).input_size == (256, 256)
