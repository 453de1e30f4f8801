"""One small set of exported and quantized graphs for all tests of the build chain."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.training.photographs import write_photographs
from training.checkpoint import Card, save_weights
from training.models.colorizer import field_colorizer
from training.models.recognizer import field_recognizer
from trt_build.export import export
from trt_build.precision.write import write_int8


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_photographs(tmp_path_factory.mktemp("photographs"), 16)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folders `recognizer` and `colorizer`, as after a training of no steps."""
    folder = tmp_path_factory.mktemp("runs")
    torch.manual_seed(0)
    labels = ["cat", "dog"]
    recognizer = field_recognizer(len(labels), 160)
    save_weights(folder / "recognizer", recognizer.state_dict(), Card("recognizer", labels=labels, input_size=160))
    colorizer = field_colorizer()
    save_weights(folder / "colorizer", colorizer.state_dict(), Card("colorizer", input_size=128))
    return folder


@pytest.fixture(scope="session")
def graphs(tmp_path_factory: pytest.TempPathFactory, checkpoints: Path, photographs: list[Path]) -> Path:
    folder = tmp_path_factory.mktemp("graphs")
    for name in ("recognizer", "colorizer"):
        export(checkpoints / name, folder, photographs[:4])
    for model in ("context", "colorizer", "recognizer"):
        write_int8(folder, model, photographs[:4])
    return folder
