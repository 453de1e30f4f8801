"""What torch2trt cannot do is told before anything starts.

The conversion itself needs a GPU and TensorRT 10: what runs without is tested, on the real TensorRT.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edge.bundles.bundle import load_bundle
from edge.bundles.manifest import ModelName, Precision
from edge.engines.store import Flags
from edge.errors import ConfigError
from edge.inference.tensorrt import TensorRtError
from tests.edge.tiny_bundle import make_tiny_bundle
from trt_build.engines.ensure import Network, from_checkpoint
from trt_build.torch2trt import convert, frozen_inputs, refuse


@pytest.mark.parametrize(
    ("model", "precision", "message"),
    [
        ("recognizer", "fp32", r"no layers for the recognizer \(TopK, NMS, RoIAlign\)"),
        ("recognizer", "int8", "no layers for the recognizer"),
        ("colorizer", "int8", "does not read INT8 graphs"),
        ("context", "int8", "does not read INT8 graphs"),
        ("colorizer", "fp16", r"works up to TensorRT 10, here is 11\.4\.0\.106"),
        ("context", "fp32", r"works up to TensorRT 10, here is 11\.4\.0\.106"),
    ],
)
def test_what_it_cannot_do_names_the_other_way(
    model: ModelName, precision: Precision, message: str, tensorrt: ModuleType, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message + ".*: build from the graph instead: --converter onnx$"):
        convert(tmp_path, model, precision)


@pytest.fixture
def older(tensorrt: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The real module under the version of JetPack 6: nothing here but the rule of versions looks at it."""
    monkeypatch.setattr(tensorrt, "__version__", "10.3.0")
    return tensorrt


@pytest.mark.parametrize("version", ["10.3.0", "10.16.1.11"])
def test_up_to_tensorrt_10_it_is_let_through(
    version: str, older: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(older, "__version__", version)
    refuse("colorizer", "fp16")
    refuse("context", "fp32")


def test_without_the_package(older: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"package torch2trt is not installed: .*NVIDIA-AI-IOT.*--converter onnx$"):
        convert(tmp_path, "colorizer", "fp16")


def test_without_a_gpu(older: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    monkeypatch.setitem(sys.modules, "torch2trt", ModuleType("torch2trt"))  # installed, and not called without a GPU
    with pytest.raises(ConfigError, match=r"needs a GPU that PyTorch can use, .*--converter onnx$"):
        convert(tmp_path, "colorizer", "fp16")


def test_without_tensorrt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(TensorRtError, match="TensorRT is not installed"):
        convert(tmp_path, "colorizer", "fp16")


def test_while_it_converts_that_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It converts for minutes and says nothing itself."""
    told: list[tuple[str, int]] = []
    was_told = threading.Event()

    def convert_when_told(*given: object) -> bytes:
        assert was_told.wait(30)
        return b"engine"

    def report(phase: str, percent: int) -> None:
        told.append((phase, percent))
        was_told.set()

    monkeypatch.setattr("trt_build.torch2trt.convert", convert_when_told)
    bundle = load_bundle(make_tiny_bundle(tmp_path / "bundle"))
    context = Network("context", "fp32", bundle.manifest.models["context"], bundle.model_path("context", "fp32"))
    assert from_checkpoint(tmp_path)(context, Flags(), report, b"").engine == b"engine"
    assert told[0] == ("torch2trt", 0)


class Coloured(nn.Module):
    """Two inputs, as a colorizer's; `context` off ignores the second."""

    def __init__(self, context: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fuse, self.context = nn.Conv2d(1, 2, 3), nn.Linear(8, 2), context

    def forward(self, luma: Tensor, context: Tensor) -> Tensor:
        out: Tensor = self.conv(luma)
        return out + self.fuse(context)[..., None, None] if self.context else out


def half(network: nn.Module) -> Callable[..., Tensor]:
    """The network in half precision, as an FP16 engine computes it."""
    return lambda *inputs: network.half()(*(i.half() for i in inputs)).float()


def test_a_conversion_that_follows_its_inputs_passes() -> None:
    inputs = [torch.rand(1, 1, 8, 8), torch.randn(1, 8)]
    assert frozen_inputs(Coloured(), Coloured(), inputs) == []
    assert frozen_inputs(Coloured(), half(Coloured()), inputs) == []
    assert frozen_inputs(Coloured(context=False), Coloured(context=False), inputs) == []


@pytest.mark.parametrize("frozen", [[0], [1], [0, 1]])
def test_a_conversion_that_took_an_input_for_a_constant_is_found(frozen: list[int]) -> None:
    inputs = [torch.rand(1, 1, 8, 8), torch.randn(1, 8)]
    network = Coloured()

    def converted(*given: Tensor) -> Tensor:
        out: Tensor = network(*(inputs[i] if i in frozen else value for i, value in enumerate(given)))
        return out

    assert frozen_inputs(network, converted, inputs) == frozen


def test_relu6_is_the_hardtanh_that_is_added() -> None:
    """PyTorch's ReLU6 calls hardtanh with these arguments in this order."""
    called: list[tuple[Any, ...]] = []
    original = nn.functional.hardtanh
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.functional, "hardtanh", lambda *given: called.append(given[1:3]) or original(*given))
        nn.ReLU6()(torch.rand(2))
    assert called == [(0.0, 6.0)]
