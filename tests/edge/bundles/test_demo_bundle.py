"""The shipped bundle keeps what it promises: small, unaltered, better than grey; and it sees its clip's animals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.bundles.bundle import DEMO_BUNDLE, load_bundle
from edge.bundles.manifest import Manifest
from edge.media import ClipReader
from edge.tools.process import process
from edge.types import UInt8Array
from edge.vision.networks import Networks

CLIP_ANIMALS = {"cow", "sheep", "horse", "dog"}


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return load_bundle(DEMO_BUNDLE).manifest


@pytest.fixture(scope="module")
def networks() -> Iterator[Networks]:
    with Networks(load_bundle(DEMO_BUNDLE)) as networks:
        yield networks


@pytest.fixture(scope="module")
def frames() -> list[UInt8Array]:
    """Ten frames, evenly over the clip."""
    luma = list(ClipReader(DEMO_BUNDLE / "night.mp4"))
    return luma[:: len(luma) // 10][:10]


def test_holds_no_other_graph_and_at_most_25_megabytes(manifest: Manifest) -> None:
    graphs = {graph.file for model in manifest.models.values() for graph in model.precisions.values()}
    assert {path.name for path in DEMO_BUNDLE.glob("*.onnx")} == graphs
    assert sum(path.stat().st_size for path in DEMO_BUNDLE.iterdir()) <= 25_000_000


def test_every_precision_is_the_file_that_was_packed(manifest: Manifest) -> None:
    for precision in manifest.models["recognizer"].precisions:
        load_bundle(DEMO_BUNDLE, precision)  # checks each sha256


def test_labels_include_people_and_the_main_animals(manifest: Manifest) -> None:
    assert {"dog", "cat", "sheep", "horse", "cow", "person"} <= set(manifest.labels)


def test_int8_colour_was_measured_better_than_grey(manifest: Manifest) -> None:
    measured = manifest.models["colorizer"].accuracy["int8"]
    assert measured["psnr_db"] > measured["grey_psnr_db"]
    assert measured["ciede2000"] < measured["grey_ciede2000"]
    assert measured["colourfulness"] >= 12


def test_int8_detection_was_measured_good_enough(manifest: Manifest) -> None:
    assert manifest.models["recognizer"].accuracy["int8"]["ap50_animals"] >= 0.35


def test_finds_animals_in_most_frames_of_its_clip(networks: Networks, frames: list[UInt8Array]) -> None:
    found = [{networks.labels[i] for i in networks.detect(luma, 0.5).labels} for luma in frames]
    assert sum(bool(labels & CLIP_ANIMALS) for labels in found) > len(frames) / 2, found


def test_colours_its_clip(networks: Networks, frames: list[UInt8Array]) -> None:
    for luma in frames:
        ab = networks.colour(luma, networks.context(luma))
        assert np.isfinite(ab).all()
        assert np.abs(ab).mean() > 3


def test_process_lists_what_it_finds_in_stills(frames: list[UInt8Array], tmp_path: Path, manifest: Manifest) -> None:
    stills = [tmp_path / f"still_{number}.png" for number in range(3)]
    for path, luma in zip(stills, frames, strict=False):
        cv2.imwrite(str(path), luma)
    out = tmp_path / "out"
    assert process(stills, out) == 0
    entries = json.loads((out / "detections.json").read_text(encoding="utf-8"))
    assert {entry["file_name"] for entry in entries} == {path.name for path in stills}
    height, width = frames[0].shape
    for entry in entries:
        assert set(entry) == {"file_name", "label", "bbox", "score"}
        assert entry["label"] in manifest.labels and 0.05 <= entry["score"] <= 1
        left, top, box_width, box_height = entry["bbox"]
        assert left >= 0 and top >= 0 and box_width > 0 and box_height > 0
        assert left + box_width <= width + 0.01 and top + box_height <= height + 0.01
    for path in stills:
        assert cv2.imread(str(out / path.name)).shape == (height, width, 3)
