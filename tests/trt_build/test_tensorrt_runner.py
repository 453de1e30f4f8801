"""TensorRT's module and the runner of engines, as far as the real TensorRT goes without a GPU."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edge.bundles.bundle import read_manifest
from edge.bundles.manifest import ModelEntry
from edge.engines.store import EngineError, Flags
from edge.inference import engine as engine_module
from edge.inference.cuda import NoGpuError, find_gpu
from edge.inference.engine import TensorRtRunner, refusal
from edge.inference.tensorrt import (
    TensorRtError,
    collected_errors,
    load_tensorrt,
    tensorrt_logger,
    tensorrt_version,
    told,
)
from tests.contract.test_runner import convolution, grid_sample, quantised, top_k
from tests.edge.tiny_bundle import make_tiny_bundle
from trt_build.engines.builder import build_engine

needs_no_gpu = pytest.mark.skipif(find_gpu() is not None, reason="tells what a machine without a GPU gets")


class NoMemory:
    """In the place of the GPU's context: TensorRT is reached, and nothing is ever allocated."""

    def current(self) -> AbstractContextManager[None]:
        return nullcontext()


@pytest.fixture
def past_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "open_device", NoMemory)


@pytest.fixture(scope="module")
def built(tensorrt: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ModelEntry]:
    """A real engine of a context network, and what its manifest declares."""
    folder = make_tiny_bundle(tmp_path_factory.mktemp("bundle"))
    entry = read_manifest(folder).models["context"]
    path = folder / "context.fp32.engine"
    path.write_bytes(build_engine(folder / entry.precisions["fp32"].file, Flags()).engine)
    return path, entry


@needs_no_gpu
def test_without_a_gpu_it_is_not_even_read(tmp_path):
    with pytest.raises(NoGpuError, match="no NVIDIA GPU in this machine"):
        TensorRtRunner(tmp_path / "missing.engine", {}, {})


@needs_no_gpu
@pytest.mark.usefixtures("past_cuda")
@pytest.mark.parametrize("given", ["path", "plan"])
def test_a_driver_that_is_too_old_is_told(built, given):
    """Without any driver TensorRT says the same as with an old one."""
    path, entry = built
    plan = path.read_bytes() if given == "plan" else None
    with pytest.raises(TensorRtError, match=r"driver is too old for TensorRT 11\.\S+: install a newer driver"):
        TensorRtRunner(path, entry.inputs, entry.outputs, plan=plan)


UNREADABLE: dict[str, Callable[[Path], Any]] = {
    "missing": lambda path: None,
    "a folder": lambda path: path.mkdir(),
}


@pytest.mark.usefixtures("tensorrt", "past_cuda")
@pytest.mark.parametrize("make", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_an_engine_that_cannot_be_read(make, tmp_path):
    path = tmp_path / "context.engine"
    make(path)
    with pytest.raises(EngineError, match=r"context\.engine: cannot read the engine: .*: run tapetum-build ensure"):
        TensorRtRunner(path, {}, {})


def test_what_tensorrt_refuses_is_one_line_in_its_words(tensorrt):
    """Without a GPU its last word is always the driver; this is what it says before."""
    with collected_errors() as errors:
        assert tensorrt.Runtime(tensorrt_logger()).deserialize_cuda_engine(b"no plan") is None
    error = refusal(Path("context.engine"), errors[:1])
    assert type(error) is EngineError
    line = str(error)
    assert line.startswith(
        f"context.engine: TensorRT {tensorrt.__version__} cannot load this engine here: Error Code"
    )
    assert "bufferSize >= minBufferSize" in line
    assert line.endswith(": run tapetum-build ensure")
    assert "\n" not in line


@pytest.mark.usefixtures("tensorrt")
@pytest.mark.parametrize("network", [convolution, grid_sample, top_k, quantised])
def test_the_networks_of_the_runner_contract_become_engines(network, tmp_path):
    """So that on a GPU the contract tests the runner and not the builder."""
    path, _ = network(tmp_path)
    assert build_engine(path, Flags()).engine


def test_the_logger_forwards(tensorrt, caplog):
    severity = tensorrt.ILogger.Severity
    with caplog.at_level(logging.DEBUG, "edge.inference.tensorrt"):
        for level in (severity.INTERNAL_ERROR, severity.ERROR, severity.WARNING, severity.INFO, severity.VERBOSE):
            tensorrt_logger().log(level, f"{level.name} of %s")
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("ERROR", "INTERNAL_ERROR of %s"),
        ("ERROR", "ERROR of %s"),
        ("WARNING", "WARNING of %s"),
        ("DEBUG", "INFO of %s"),
    ]


def test_tensorrt_tells_the_logger(tensorrt, caplog):
    with caplog.at_level(logging.DEBUG, "edge.inference.tensorrt"):
        assert tensorrt.Runtime(tensorrt_logger()).deserialize_cuda_engine(b"no plan") is None
    assert "bufferSize >= minBufferSize" in caplog.text


def test_errors_are_collected_by_all_who_ask_and_then_logged_again(tensorrt, caplog):
    logger, error = tensorrt_logger(), tensorrt.ILogger.Severity.ERROR
    with collected_errors() as outer:
        with collected_errors() as inner:
            logger.log(error, "one")
        logger.log(error, "two")
    assert (outer, inner) == (["one", "two"], ["one"])
    assert caplog.text == ""
    logger.log(error, "three")
    assert "three" in caplog.text


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        (["[runtime.cpp::read::7] Error Code 2: (why)", "and so"], "Error Code 2: (why)"),
        (["plain\nsecond line"], "plain"),
        ([], "it gave no reason"),
    ],
)
def test_the_first_error_without_its_source_file(errors, words):
    assert told(errors) == words


def test_one_logger_for_the_process(tensorrt):
    assert tensorrt_logger() is tensorrt_logger()


def test_the_version(tensorrt):
    assert tensorrt_version() == tensorrt.__version__
    assert load_tensorrt() is tensorrt


@pytest.fixture
def no_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)


@pytest.mark.usefixtures("no_tensorrt")
def test_without_tensorrt_it_says_what_to_install():
    with pytest.raises(TensorRtError, match="TensorRT is not installed: on a Jetson, apt install python3-libnvinfer"):
        load_tensorrt()


@pytest.mark.parametrize("version", ["8.6.1", "10.2.0.19"])
def test_an_older_tensorrt_is_refused(version, monkeypatch):
    module = ModuleType("tensorrt")
    module.__version__ = version  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    with pytest.raises(TensorRtError, match=rf"TensorRT {version} is older than 10\.3: install JetPack 6\.1"):
        load_tensorrt()


@pytest.mark.usefixtures("no_tensorrt")
def test_that_for_rtx_does_too_whatever_its_number(monkeypatch):
    module = ModuleType("tensorrt_rtx")
    module.__version__ = "1.1.1"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", module)
    assert load_tensorrt() is module


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt_rtx"])
def test_a_module_without_its_libraries(name, tmp_path):
    """As python3-libnvinfer is left when its libraries were removed."""
    (tmp_path / "tensorrt.py").write_text("raise ModuleNotFoundError\n")
    (tmp_path / f"{name}.py").write_text("import ctypes, sys\nraise ImportError('libnvinfer.so.10: cannot open')\n")
    done = subprocess.run(
        [sys.executable, "-c", "from edge.inference.tensorrt import load_tensorrt; load_tensorrt()"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "TensorRtError: TensorRT cannot be loaded: libnvinfer.so.10: cannot open: install" in done.stderr
