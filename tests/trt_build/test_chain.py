"""The whole way of a model by the command line: checkpoints to a signed, measured bundle and dry-run engines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.bundles.bundle import load_bundle
from edge.bundles.manifest import MODEL_NAMES, PRECISIONS, Manifest
from edge.errors import BundleError
from edge.media import read_still
from edge.vision.networks import Networks
from tests.training.photographs import write_coco, write_photographs
from trt_build.__main__ import main
from trt_build.judging import cost


def build(*arguments: object) -> None:
    assert main([str(argument) for argument in arguments]) == 0, arguments


@pytest.mark.timeout(400)
def test_from_checkpoints_to_a_signed_bundle_with_engines(
    checkpoints: Path,
    tensorrt: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cost, "ENOUGH_S", 0.0)  # the least number of runs will do
    frames = write_photographs(tmp_path / "frames", 16, seed=1)
    held_out = write_photographs(tmp_path / "held_out", 4, seed=2)
    coco = write_coco(tmp_path / "held_out" / "coco.json", held_out)
    graphs, bundle, site = tmp_path / "graphs", tmp_path / "all", tmp_path / "site"
    key, public = tmp_path / "key.private.pem", tmp_path / "key.public.pem"

    for name in ("recognizer", "colorizer"):
        build("export", checkpoints / name, "--out", graphs, "--images", frames[0].parent, "--count", 2)
    assert "largest difference from PyTorch" in capsys.readouterr().out
    build("calibrate", frames[0].parent, "--out", tmp_path / "set", "--validation", held_out[0].parent)
    for precision in ("fp16", "int8"):
        build("quantize", graphs, "--precision", precision, "--calibration", tmp_path / "set")
    build("pack", graphs, "--out", bundle, "--name", "site")
    limits = ("--max-psnr-loss", 99, "--max-ap50-loss", 100)  # untrained networks lose what they never had
    held_out_list = tmp_path / "held_out.txt"  # as `tapetum-train colorizer` writes it
    held_out_list.write_text("".join(f"{file}\n" for file in held_out))
    measured_on = ("--images", held_out_list, "--coco", coco, "--coco-images", coco.parent)
    build("evaluate", bundle, *measured_on, *limits)
    build("keygen", "--out", tmp_path / "key")
    build("pack", bundle, "--out", site, "--sign", key)
    capsys.readouterr()
    build("verify", site, "--public-key", public)
    for precision in PRECISIONS:
        build("build", site, "--dry-run", "--precision", precision, "--level", 0, "--public-key", public)
    build("ensure", site, "--dry-run", "--precision", "int8", "--level", 0, "--public-key", public)
    build("inspect", site, "--json", tmp_path / "layers.json")

    manifest = load_bundle(site, public_key=public).manifest
    assert_measured(manifest)
    engines = sorted((site / "engines").glob("*.engine"))
    assert [engine.name.rsplit(".", 2)[0] for engine in engines] == [
        f"{model}.{precision}" for model in sorted(MODEL_NAMES) for precision in sorted(PRECISIONS)
    ]
    for engine in engines:
        sidecar = json.loads(engine.with_suffix(".json").read_text())
        assert sidecar["dry_run"] and sidecar["engine_bytes"] == engine.stat().st_size > 100_000
    for precision in PRECISIONS:
        with Networks(load_bundle(site, precision, public_key=public)) as networks:
            luma = read_still(held_out[0])
            assert np.isfinite(networks.colour(luma, networks.context(luma))).all()
            networks.detect(luma)

    (site / "manifest.json").write_bytes((site / "manifest.json").read_bytes().replace(b'"site"', b'"mine"'))
    with pytest.raises(BundleError, match="altered"):
        load_bundle(site, public_key=public)


def assert_measured(manifest: Manifest) -> None:
    assert manifest.calibration is not None and manifest.calibration.images >= 16
    for name, entry in manifest.models.items():
        assert set(entry.precisions) == set(entry.cost) == set(PRECISIONS), name
        assert not entry.refused, name
        assert entry.float_layers["int8"], name
    assert "/ab/Conv" in manifest.models["colorizer"].float_layers["int8"]
    for name in ("colorizer", "recognizer"):
        assert set(manifest.models[name].accuracy) == set(PRECISIONS)
