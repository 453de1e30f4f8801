"""What the service runs on: the order of choice, its reasons, and what each failure on the way leaves behind."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.bundles.bundle import load_bundle
from edge.bundles.manifest import MODEL_NAMES, ModelName
from edge.config import Config, parse_config
from edge.engines.store import DRY_RUN, EngineError, Flags, LoadedEngine, Target, sidecar_path
from edge.errors import BundleError, TapetumError
from edge.inference.cuda import Gpu, GpuFaultError, GpuMemoryError, NoGpuError, find_gpu
from edge.vision import backend as backend_module
from edge.vision.backend import open_backend
from edge.vision.base import Backend
from edge.vision.networks import Networks
from tests.e2e.service import ROOT, write_config
from tests.edge.backend_cases import CASES, a_fault_ends_the_service
from tests.edge.engines.test_engines import NOON
from tests.edge.standing import Opened, StandingColourist, orin, write_engines_of
from tests.edge.test_cuda import CLEANING_UP
from tests.edge.tiny_bundle import make_tiny_bundle
from tests.pycuda_runtime import pycuda_env
from trt_build.engines.ensure import Workshop

needs_no_gpu = pytest.mark.skipif(find_gpu() is not None, reason="tells what a machine without a GPU gets")

GREY = np.full((48, 64), 128, np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return configured(tmp_path)


def configured(tmp_path: Path, runtime: str = "auto") -> Config:
    (tmp_path / "engines").mkdir(exist_ok=True)
    return parse_config({"service": {"state_dir": str(tmp_path), "runtime": runtime}}, origin="test")


def assert_works(backend: Backend) -> None:
    backend.colourist.renew_context(GREY)
    assert backend.colourist.nv12(GREY).shape == (72, 64)
    assert len(backend.detector.detect(GREY)) == 1


class TestWithoutAGpu:
    @needs_no_gpu
    def test_the_cpu_runs_the_networks_and_the_reason_is_told(self, config: Config, folder: Path, caplog) -> None:
        with caplog.at_level(logging.INFO), open_backend(config, load_bundle(folder)) as backend:
            assert_works(backend)
        assert (backend.name, backend.precision) == ("openvino", "fp32")
        assert backend.detail == "no NVIDIA GPU in this machine"
        assert (caplog.records[-1].levelname, caplog.records[-1].message) == (
            "INFO",
            "no NVIDIA GPU in this machine; the networks run on the CPU",
        )

    @needs_no_gpu
    def test_one_that_was_insisted_on_is_an_error(self, tmp_path: Path, folder: Path) -> None:
        with pytest.raises(NoGpuError, match="no NVIDIA GPU in this machine"):
            open_backend(configured(tmp_path, "tensorrt"), load_bundle(folder))

    def test_the_cpu_that_was_asked_for_needs_no_excuse(
        self, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(backend_module, "need_gpu", lambda: pytest.fail("nobody asked for it"))
        with open_backend(configured(tmp_path, "cpu"), load_bundle(folder, "int8")) as backend:
            assert_works(backend)
        assert (backend.name, backend.precision, backend.detail) == ("openvino", "int8", "")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """A machine with an Orin and TensorRT 10.3.0."""
    opened = orin(monkeypatch)
    yield opened
    assert all(part.is_closed for part in opened.parts), "nothing stays open"


WriteEngines = Callable[..., dict[ModelName, Path]]


@pytest.fixture
def write_engines(config: Config, folder: Path) -> WriteEngines:
    """Writes an engine of each network that fits an Orin, but for what is changed."""

    return partial(write_engines_of, folder, config.service.engines_dir)


LEVEL_1 = Flags(level=1)


class Held:
    """The memory of what is opened."""


class TestEngines:
    def test_those_that_fit_are_taken(
        self, opened: Opened, write_engines: WriteEngines, config: Config, folder: Path
    ) -> None:
        engines = write_engines()
        with open_backend(config, load_bundle(folder)) as backend:
            assert_works(backend)
        assert (backend.name, backend.precision, backend.detail) == ("tensorrt", "fp32", "")
        assert opened.tried == [engines[model] for model in ("context", "colorizer", "recognizer")]
        assert backend.engines == set(engines.values())

    @pytest.mark.parametrize("model", MODEL_NAMES)
    @pytest.mark.parametrize(
        ("spoil", "reason"),
        [
            (lambda engine: engine.unlink(), "none was built"),
            (lambda engine: sidecar_path(engine).unlink(), "no sidecar beside it"),
            (lambda engine: engine.write_bytes(engine.read_bytes()[:-1]), "truncated or altered"),
            (lambda engine: engine.write_bytes(engine.read_bytes()[::-1]), "sha256 differs"),
        ],
        ids=["missing", "unfinished", "truncated", "altered"],
    )
    def test_one_that_is_damaged(
        self, model: ModelName, spoil, reason, opened: Opened, write_engines: WriteEngines, config, folder, caplog
    ) -> None:
        spoil(write_engines()[model])
        with open_backend(config, load_bundle(folder)) as backend:
            assert_works(backend)
        assert backend.name == "openvino"
        for word in (f"no fp32 engine of {model}", reason, "run tapetum-build ensure"):
            assert word in backend.detail
        assert (caplog.records[-1].levelname, opened.tried) == ("WARNING", [])

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"tensorrt": "10.7.0"}, "built by TensorRT 10.7.0, here is 10.3.0"),
            ({"gpu": "Thor", "compute_capability": "11.0"}, r"built on Thor \(11.0\), here is Orin"),
            ({"gpu": None, "compute_capability": None, "dry_run": True}, DRY_RUN),
            ({"onnx_sha256": "3" * 64}, "built from another ONNX file"),
        ],
        ids=["another TensorRT", "another GPU", "a dry run", "another bundle"],
    )
    def test_those_that_do_not_fit(
        self, changes, reason, opened: Opened, write_engines: WriteEngines, config: Config, folder: Path
    ) -> None:
        write_engines(**changes)
        with open_backend(config, load_bundle(folder)) as backend:
            assert backend.name == "openvino"
        with pytest.raises(EngineError, match=f"no fp32 engine of context .*{reason}"):
            open_backend(
                config.model_copy(update={"service": config.service.model_copy(update={"runtime": "tensorrt"})}),
                load_bundle(folder),
            )
        assert opened.tried == []

    def test_the_last_good_one(
        self, opened: Opened, write_engines: WriteEngines, config: Config, folder: Path, caplog
    ) -> None:
        old = write_engines()
        new = write_engines(flags=LEVEL_1, created_at=NOON + timedelta(hours=1))
        opened.failing[new["colorizer"]] = EngineError(new["colorizer"], "TensorRT cannot load this engine here")
        with open_backend(config, load_bundle(folder)) as backend:
            assert_works(backend)
        assert backend.name == "tensorrt"
        assert backend.detail == str(opened.failing[new["colorizer"]])
        assert backend.detail in caplog.text
        first, second = [new["context"], new["colorizer"]], [new["context"], old["colorizer"]]
        assert opened.tried == [*first, *second, new["recognizer"]]

    def test_what_failed_is_freed_before_the_next_is_tried(
        self, opened: Opened, write_engines: WriteEngines, config: Config, folder: Path, monkeypatch
    ) -> None:
        """Not by the garbage collector, some day: the next engine needs the memory now."""
        write_engines()
        failing = write_engines(flags=LEVEL_1, created_at=NOON + timedelta(hours=1))["colorizer"]
        held: list[weakref.ref[Held]] = []

        def load(paths: Sequence[LoadedEngine]) -> None:
            assert [ref() for ref in held] == [None] * len(held)
            if failing in [engine.path for engine in paths]:
                memory = Held()
                held.append(weakref.ref(memory))
                try:
                    raise ValueError
                except ValueError as error:  # as TensorRT's and pycuda's errors are explained by ours
                    raise GpuMemoryError("the memory of Orin is full") from error

        monkeypatch.setattr(opened, "_try", load)
        gc.disable()
        try:
            with open_backend(config, load_bundle(folder)) as backend:
                assert (backend.name, len(held)) == ("tensorrt", 1)
        finally:
            gc.enable()

    def test_another_precision_until_the_renewal_is_done(
        self, opened: Opened, write_engines: WriteEngines, config: Config, folder: Path
    ) -> None:
        write_engines("int8")
        with open_backend(config, load_bundle(folder)) as backend:
            assert (backend.name, backend.precision) == ("tensorrt", "int8")
        assert "no fp32 engine of context" in backend.detail
        assert backend.detail.count("no fp32 engine") == len(MODEL_NAMES)

    def test_a_precision_that_was_asked_for_is_the_only_one(
        self, opened: Opened, write_engines: WriteEngines, config: Config, folder: Path
    ) -> None:
        write_engines("int8")
        with open_backend(config, load_bundle(folder, "fp32")) as backend:
            assert (backend.name, backend.precision) == ("openvino", "fp32")

    @pytest.mark.parametrize("insisted", [False, True])
    def test_a_refused_precision_is_left_alone(
        self, insisted: bool, opened: Opened, write_engines: WriteEngines, config: Config, folder: Path
    ) -> None:
        write_engines("int8")
        bundle = load_bundle(folder, allow_refused=insisted)
        models = {
            name: entry.model_copy(update={"refused": {"int8": "green sheep"}})
            for name, entry in bundle.manifest.models.items()
        }
        bundle = replace(bundle, manifest=bundle.manifest.model_copy(update={"models": models}))
        with open_backend(config, bundle) as backend:
            assert backend.name == ("tensorrt" if insisted else "openvino")

    @pytest.mark.parametrize("model", MODEL_NAMES)
    def test_none_can_be_opened(
        self, model: ModelName, opened: Opened, write_engines: WriteEngines, config: Config, folder: Path
    ) -> None:
        engine = write_engines()[model]
        opened.failing[engine] = GpuMemoryError("the memory of Orin is full")
        with open_backend(config, load_bundle(folder)) as backend:
            assert_works(backend)
        assert (backend.name, backend.detail) == ("openvino", "the memory of Orin is full")

    def test_one_that_opens_and_does_not_run(
        self, opened: Opened, write_engines: WriteEngines, config: Config, folder: Path, monkeypatch
    ) -> None:
        write_engines()
        monkeypatch.setattr(StandingColourist, "first_run", EngineError("colorizer", "cannot run"))
        with open_backend(config, load_bundle(folder)) as backend:
            assert backend.name == "openvino"
        assert "cannot run" in backend.detail

    def test_one_whose_chroma_is_not_finite(
        self, opened: Opened, write_engines: WriteEngines, config: Config, folder: Path, monkeypatch
    ) -> None:
        """On the CPU such a network goes on, in grey: there is nothing better."""
        write_engines()
        monkeypatch.setattr(Networks, "colour", lambda *_: np.full((2, 8, 8), np.nan, np.float32))
        with open_backend(config, load_bundle(folder)) as backend:
            assert backend.name == "openvino"
        assert backend.detail.startswith("the colorizer's engine gives values that are not finite")

    def test_after_a_fault_nothing_more_is_tried_on_the_gpu(
        self, opened: Opened, write_engines: WriteEngines, config: Config, folder: Path
    ) -> None:
        write_engines()
        new = write_engines(flags=LEVEL_1, created_at=NOON + timedelta(hours=1))
        opened.failing[new["colorizer"]] = GpuFaultError("Orin failed: an illegal address")
        with open_backend(config, load_bundle(folder)) as backend:
            assert_works(backend)
        assert (backend.name, backend.detail) == ("openvino", "Orin failed: an illegal address")
        assert opened.tried == [new["context"], new["colorizer"]]

    def test_a_bug_is_no_reason_to_go_on(
        self, opened: Opened, write_engines: WriteEngines, config: Config, folder: Path
    ) -> None:
        opened.failing[write_engines()["recognizer"]] = ZeroDivisionError()
        with pytest.raises(ZeroDivisionError):
            open_backend(config, load_bundle(folder))

    def test_a_broken_bundle_is_told_whatever_runs(self, tmp_path: Path, folder: Path) -> None:
        bundle = load_bundle(folder)
        gone = replace(bundle, folder=tmp_path)
        with pytest.raises(BundleError, match="cannot read the model") as told:
            open_backend(configured(tmp_path), gone)
        assert isinstance(told.value, TapetumError)


@pytest.fixture(scope="module")
def built(folder: Path, tensorrt: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with real engines and cubins for a GPU called Double."""
    state = tmp_path_factory.mktemp("state")
    double = Target(tensorrt.__version__, "Double", "8.7")
    Workshop(load_bundle(folder), state / "engines", double, Flags(), lambda progress: None).ensure()
    return state


class TestRealEngines:
    """Built by the real TensorRT, for a GPU that is not there."""

    @pytest.fixture
    def state(self, built: Path, tmp_path: Path) -> Path:
        return shutil.copytree(built, tmp_path / "state")

    def test_a_dry_run_is_never_loaded(
        self, folder: Path, tensorrt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engines = configured(tmp_path).service.engines_dir
        Workshop(
            load_bundle(folder), engines, Target(tensorrt.__version__, None, None), Flags(), lambda progress: None
        ).ensure()
        gpu = Gpu("Double", "8.7", integrated=False, driver="13.0", memory_bytes=8 << 30)
        monkeypatch.setattr(backend_module, "need_gpu", lambda: gpu)
        with open_backend(configured(tmp_path), load_bundle(folder)) as backend:
            assert_works(backend)
        assert "a dry run, built without a GPU" in backend.detail

    @pytest.mark.slow  # the first time pycuda is compiled
    @pytest.mark.timeout(1200)
    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
    def test_a_gpu_that_fails(
        self, case: Callable[[Path], None], state: Path, folder: Path, tensorrt_env: dict[str, str], tmp_path: Path
    ) -> None:
        sections: dict[str, dict[str, Any]] = {
            "service": {"state_dir": str(state), "log_level": "error"},
            "source": {"kind": "test"},
            "bundle": {"path": str(folder)},
            "engines": {"renew": "off"},
            "rtsp": {"enabled": False},
            "mqtt": {"enabled": False},
        }
        config = write_config(tmp_path / "edge.toml", sections)
        env = pycuda_env(tmp_path)
        env["PYTHONPATH"] = os.pathsep.join([env["PYTHONPATH"], tensorrt_env["PYTHONPATH"]])
        command = [sys.executable, "-W", "error", "-m", "tests.edge.backend_cases", case.__name__, str(config)]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
        told = [line for line in done.stderr.splitlines() if not line.startswith(CLEANING_UP)]
        words = "tapetum-edge: Double failed: cuStreamSynchronize failed: an illegal memory access was encountered"
        expected = [f"{words}: the program must be started again"] if case is a_fault_ends_the_service else []
        assert (done.returncode, done.stdout, told) == (0, "done\n", expected)
