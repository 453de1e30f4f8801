"""The GPU's colourist and detector, without a GPU: each case of `gpu_cases.py` in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.edge.gpu_cases import CASES
from tests.edge.test_cuda import CLEANING_UP, ROOT
from tests.edge.tiny_bundle import make_tiny_bundle
from tests.pycuda_runtime import pycuda_env
from trt_build.engines.kernels import ensure_cubins


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return pycuda_env(tmp_path_factory.mktemp("driver"))


@pytest.fixture(scope="module")
def cubins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engines")
    ensure_cubins(folder, "8.7")
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.mark.slow  # the first time pycuda is compiled
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_on_a_driver_of_ours(case: Callable[[], None], env: dict[str, str], bundle: Path, cubins: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "tests.edge.gpu_cases", case.__name__, bundle, cubins]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=110, check=False)
    told = [line for line in done.stderr.splitlines() if not line.startswith((*CLEANING_UP, "cuModuleUnload"))]
    assert (done.returncode, done.stdout, told) == (0, "done\n", []), done.stderr
