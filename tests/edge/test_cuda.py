"""CUDA without a GPU: why there is none, and with the real pycuda on a driver of ours all the rest."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.inference import cuda
from edge.inference.cuda import NoGpuError, find_gpu, need_gpu
from tests.edge.cuda_cases import CASES
from tests.pycuda_runtime import pycuda_env, pycuda_folder

ROOT = Path(__file__).parents[2]
# What pycuda itself prints when it frees the memory of a context that a fault has spoilt.
CLEANING_UP = ("PyCUDA WARNING: a clean-up operation failed", "cuMemFree", "cuStreamDestroy")


@pytest.fixture
def without_pycuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)


@pytest.mark.usefixtures("without_pycuda")
def test_no_gpu_and_no_pycuda(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(cuda, "DEVICE_NODES", (tmp_path / "nvidiactl",))
    with caplog.at_level(logging.INFO):
        assert find_gpu() is None
    assert "no NVIDIA GPU in this machine" in caplog.text


@pytest.mark.usefixtures("without_pycuda")
def test_a_gpu_without_pycuda_names_the_package(monkeypatch, tmp_path):
    node = tmp_path / "nvidiactl"
    node.touch()
    monkeypatch.setattr(cuda, "DEVICE_NODES", (tmp_path / "nvgpu", node))
    with pytest.raises(
        NoGpuError, match=r"a GPU is here \(.*nvidiactl\), but the package pycuda is not: pip install"
    ):
        need_gpu()


@pytest.fixture(scope="session")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return pycuda_env(tmp_path_factory.mktemp("driver"))


def python(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.slow  # the first time pycuda is compiled
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_with_pycuda(case: Callable[[], None], env):
    done = python("-m", "tests.edge.cuda_cases", case.__name__, env=env)
    told = [line for line in done.stderr.splitlines() if not line.startswith(CLEANING_UP)]
    assert (done.returncode, done.stdout, told) == (0, "done\n", [])


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_pycuda_without_a_driver(env):
    env = {**env, "LD_LIBRARY_PATH": "", "PYTHONPATH": str(pycuda_folder())}
    done = python("-c", "from edge.inference.cuda import need_gpu; need_gpu()", env=env)
    assert "NoGpuError: pycuda cannot be loaded: libcuda.so.1: cannot open shared object file" in done.stderr
    assert done.stderr.rstrip().endswith("install NVIDIA's driver, or build pycuda again")
