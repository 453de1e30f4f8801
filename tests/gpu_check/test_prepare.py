"""Bundles for the check, the frames that it takes, and the way of a frame, on networks of this machine's CPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.bundles.bundle import load_bundle
from edge.sections import ColourConfig
from edge.vision.cpu import CpuColourist
from edge.vision.networks import Networks
from tests.edge.tiny_bundle import make_tiny_bundle
from tests.gpu_check import places
from tests.gpu_check.figures import Figures
from tests.gpu_check.parts import frame, networks, prepare


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAPETUM_GPU_CHECK", str(tmp_path))
    return tmp_path


def test_frames_are_the_clips_where_the_kit_brings_none(place):
    images = places.images()
    assert len(images) == places.IMAGES
    assert images == places.images()  # made once
    brought = place / "kit" / "images"
    brought.mkdir(parents=True)
    (brought / "000.jpg").write_bytes(images[0].read_bytes())
    assert places.images() == [brought / "000.jpg"]


def test_pictures_have_the_size(place):
    pictures = places.pictures(96, 54)
    assert len(pictures) > 10
    assert {picture.shape for picture in pictures} == {(54, 96)}


@pytest.mark.slow  # exports two networks and quantizes three
@pytest.mark.timeout(400)
def test_a_bundle_of_random_networks_in_all_precisions(place, monkeypatch):
    monkeypatch.setattr(prepare, "input_side", lambda network: 128 if network == "colorizer" else 160)
    figures = Figures(place / "figures.json")
    prepare.make_bundle(figures, "field", places.images()[:2])
    assert figures._figures["weights"] == "random"
    for precision in ("fp32", "fp16", "int8"):
        bundle = places.bundle_of("field", precision)
        assert {bundle.precision_of(name) for name in bundle.manifest.models} == {precision}
    entry = bundle.manifest.models["recognizer"]
    assert networks.torch_network("field", "recognizer", entry).labels == len(bundle.manifest.labels)
    assert {name: array.shape for name, array in networks.random_inputs(entry).items()} == {"image": (1, 1, 160, 160)}


def test_an_onnxruntime_without_cuda_is_told(tmp_path):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    bundle = load_bundle(make_tiny_bundle(tmp_path / "bundle"))
    with pytest.raises(RuntimeError, match="has no CUDAExecutionProvider"):
        networks._onnxruntime_run(str(bundle.model_path("context")), bundle.manifest.models["context"], graph=False)


def test_latency_and_streams_of_a_colourist(place, monkeypatch):
    monkeypatch.setattr(frame, "STREAMS_S", 0.2)
    monkeypatch.setattr(frame, "measured", lambda once: {"median_ms": once()})
    bundle = load_bundle(make_tiny_bundle(place / "bundle"))

    def opened() -> CpuColourist:
        return CpuColourist(Networks(bundle, ("context", "colorizer"), threads=1), ColourConfig())

    figures = Figures(place / "figures.json")
    pictures = places.pictures(64, 48)
    frame._measure(figures, "fp16", opened, pictures)
    assert figures._reasons == []
    assert figures._figures["fp16 latency"]["median_ms"] > 0
    assert [figures._figures[f"fp16 frames_per_s at {count} streams"] > 0 for count in frame.STREAMS] == [True] * 3
    with opened() as one:
        assert frame._difference(one, opened(), pictures[:3]) == {"mean": 0.0, "p99": 0.0}
