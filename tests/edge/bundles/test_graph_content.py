"""What runs is what was checked, whatever happens to the file between."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from edge.bundles.bundle import load_bundle
from edge.errors import BundleError
from edge.inference.onnx import OnnxRunner
from edge.vision.networks import Networks


def test_a_graph_that_was_altered_after_the_bundle_was_loaded_is_not_run(tiny: Path, tmp_path: Path) -> None:
    bundle = load_bundle(Path(shutil.copytree(tiny, tmp_path / "bundle")))
    path = bundle.model_path("colorizer")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match="sha256 differs"):
        Networks(bundle)


def test_the_file_is_not_read_again(tiny: Path) -> None:
    bundle = load_bundle(tiny)
    entry = bundle.manifest.models["context"]
    content = bundle.read_graph("context")
    with OnnxRunner(Path("/nowhere.onnx"), entry.inputs, entry.outputs, threads=1, content=content) as runner:
        given = runner.run({"luma": np.full((1, 1, 224, 224), 0.5, np.float32)})
    np.testing.assert_allclose(given["context"], 0.5, atol=1e-5)
