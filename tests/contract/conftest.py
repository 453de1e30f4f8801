"""Backends of the tiny bundle, on each runtime that there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edge.bundles.bundle import load_bundle
from edge.config import parse_config
from edge.vision.backend import open_backend
from edge.vision.base import Backend
from tests.edge.spoilt_bundle import with_graph
from tests.edge.tiny_bundle import make_tiny_bundle
from tests.gpu import NEEDS_GPU
from trt_build.__main__ import main

OpenBackend = Callable[..., Backend]

NAN_ABOVE = 200  # luma
GAIN = 60


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle with a context that tells: GAIN times the mean of luma, which the colorizer adds to a."""
    plain = make_tiny_bundle(tmp_path_factory.mktemp("plain") / "bundle")
    model = onnx.load(plain / "context_fp32.onnx")
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((1, 1000), GAIN, np.float32), "ones"))
    return with_graph(plain, tmp_path_factory.mktemp("tiny") / "bundle", "context", model.SerializeToString())


@pytest.fixture(scope="session")
def brittle(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle with a colorizer that gives NaN where luma is above NAN_ABOVE."""
    model = onnx.load(tiny / "colorizer_fp32.onnx")
    graph = model.graph
    graph.node[-1].output[0] = "sound"
    graph.initializer.append(numpy_helper.from_array(np.float32(NAN_ABOVE / 255), "limit"))
    graph.initializer.append(numpy_helper.from_array(np.float32(0), "nothing"))
    graph.node.extend(
        [
            helper.make_node("Sub", ["limit", "small"], ["room"]),
            helper.make_node("Sqrt", ["room"], ["root"]),
            helper.make_node("Mul", ["root", "nothing"], ["nan_or_nothing"]),
            helper.make_node("Add", ["sound", "nan_or_nothing"], ["ab"]),
        ]
    )
    folder = tmp_path_factory.mktemp("brittle") / "bundle"
    return with_graph(tiny, folder, "colorizer", model.SerializeToString())


@pytest.fixture(params=[pytest.param("cpu", id="cpu"), pytest.param("tensorrt", id="tensorrt", marks=NEEDS_GPU)])
def opened(request: pytest.FixtureRequest) -> Iterator[OpenBackend]:
    """Opens a bundle's backend with a [colour] section; closed when the test is over. Engines are built once."""
    with ExitStack() as backends:

        def open_it(folder: Path, **colour: Any) -> Backend:
            service = {"state_dir": str(folder.parent), "runtime": request.param}
            config = parse_config({"service": service, "colour": colour}, origin="test")
            if request.param == "tensorrt":
                assert main(["ensure", str(folder), "--engines", str(config.service.engines_dir)]) == 0
            return backends.enter_context(open_backend(config, load_bundle(folder)))

        yield open_it
