"""A machine with a GPU and engines that fit it, where there is none: OpenVINO stands in for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from edge.bundles.bundle import Bundle, read_manifest
from edge.bundles.manifest import MODEL_NAMES, ModelName, Precision
from edge.config import Config
from edge.engines.store import LoadedEngine
from edge.inference.cuda import Gpu
from edge.kernels.base import MergeStyle
from edge.types import UInt8Array
from edge.vision import backend as backend_module
from edge.vision.base import Colourist, Detector
from edge.vision.cpu import CpuColourist, CpuDetector
from edge.vision.networks import Networks
from tests.edge.engines.test_engines import ORIN, write_engine

ORIN_GPU = Gpu("Orin", "8.7", integrated=True, driver="12.6", memory_bytes=8 << 30)


def orin(monkeypatch: pytest.MonkeyPatch) -> Opened:
    """An Orin with TensorRT 10.3.0."""
    opened = Opened()
    monkeypatch.setattr(backend_module, "need_gpu", lambda: ORIN_GPU)
    monkeypatch.setattr(backend_module, "tensorrt_version", lambda: ORIN.tensorrt)
    monkeypatch.setattr("edge.vision.gpu.open.open_colourist", opened.colourist)
    monkeypatch.setattr("edge.vision.gpu.open.open_detector", opened.detector)
    monkeypatch.setattr(StandingColourist, "first_run", None)
    return opened


def write_engines_of(
    bundle: Path, engines: Path, precision: Precision = "fp32", **changes: object
) -> dict[ModelName, Path]:
    """Write an engine of each network that fits an Orin, but for what is changed in its sidecar."""
    written = {}
    for model in MODEL_NAMES:
        graph = read_manifest(bundle).models[model].precisions[precision]
        identity = {"model": model, "precision": precision, "onnx_sha256": graph.sha256}
        plan = f"{model} {precision} {changes}".encode()
        written[model] = write_engine(engines, plan, **{**identity, **changes})
    return written


class Opened:
    """In place of edge.vision.gpu.open: OpenVINO stands in for engines; `failing` says which cannot, and why."""

    def __init__(self) -> None:
        self.failing: dict[Path, Exception] = {}
        self.tried: list[Path] = []
        self.parts: list[Standing] = []

    def colourist(
        self,
        bundle: Bundle,
        engines: Mapping[ModelName, LoadedEngine],
        folder: Path,
        *,
        smoothing: float,
        style: MergeStyle,
    ) -> Colourist:
        self._try(list(engines.values()))
        assert list(engines) == ["context", "colorizer"]
        config = Config().colour
        assert (smoothing, style.upsampling) == (config.smoothing, config.upsampling)
        return self._kept(StandingColourist(Networks(bundle, list(engines), threads=1), config))

    def detector(self, bundle: Bundle, engine: LoadedEngine, folder: Path) -> Detector:
        self._try([engine])
        return self._kept(StandingDetector(Networks(bundle, ["recognizer"], threads=1)))

    def _try(self, engines: Sequence[LoadedEngine]) -> None:
        for engine in engines:
            assert engine.plan == engine.path.read_bytes()
            self.tried.append(engine.path)
            if engine.path in self.failing:
                raise self.failing[engine.path]

    def _kept(self, part: Standing) -> Standing:
        self.parts.append(part)
        return part


class StandingColourist(CpuColourist):
    is_closed = False
    first_run: Exception | None = None

    def nv12(self, luma: UInt8Array) -> UInt8Array:
        if StandingColourist.first_run:
            raise StandingColourist.first_run
        return super().nv12(luma)

    def close(self) -> None:
        self.is_closed = True
        super().close()


class StandingDetector(CpuDetector):
    is_closed = False

    def close(self) -> None:
        self.is_closed = True
        super().close()


Standing = StandingColourist | StandingDetector
