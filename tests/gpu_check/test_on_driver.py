"""The kernel's part with the real pycuda on a driver that runs the kernels on the CPU: every call exists and fits.

::

    python -m tests.gpu_check.test_on_driver FUNCTION     what the test starts, in its environment
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge.kernels.launch import SOURCE
from edge.kernels.nvrtc import Nvrtc
from tests.gpu_check.running import ROOT
from tests.kernels.build import gpu_library
from tests.pycuda_runtime import pycuda_env

EVENTS = Path(__file__).with_name("events.c")


def run(function: str) -> None:
    """One function of the part, on frames so small that a CPU does them at once."""
    from tests.gpu_check import gpu
    from tests.gpu_check.figures import Figures
    from tests.gpu_check.parts import kernel
    from tests.gpu_check.timing import measured

    # NVRTC asks any driver that it finds what ours does not know: here it has compiled before.
    compiled = SimpleNamespace(code=Path(os.environ["CUBIN"]).read_bytes())
    gpu.Nvrtc = lambda: SimpleNamespace(compile=lambda source, architecture: compiled)
    kernel.SIZES = ((64, 32), (96, 64))
    kernel.ROTATED_BYTES, kernel.COPY_BYTES, kernel.BATCH, kernel.STREAMS = 1 << 20, 1 << 20, 4, 1
    kernel.BATCH_SIZE = (64, 32)
    few = {"warm_up_s": 0, "measured_s": 0, "fewest": 3}
    kernel.measured = lambda once, **limits: measured(once, **few)
    file = Path(os.environ["FIGURES"])
    figures = Figures(file)
    with figures.going_on():
        if function == "correct":
            kernel.correct(figures, "6", "watched")
        else:
            kernel.speed(figures)


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("driver")
    events = folder / "events.so"
    env = pycuda_env(folder)  # it lays the driver into the folder
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O1", EVENTS, folder / "libcuda.so.1", "-o", events], check=True, timeout=60
    )
    cubin = folder / "lab_merge.cubin"
    cubin.write_bytes(Nvrtc().compile(SOURCE, "sm_87").code)
    return env | {"CUDA_KERNELS": str(gpu_library()), "CUBIN": str(cubin), "LD_PRELOAD": str(events)}


@pytest.mark.slow  # the first time pycuda is compiled
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("function", ["correct", "speed"])
def test_it_runs(function, env, tmp_path):
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "tests.gpu_check.test_on_driver", function]
    done = subprocess.run(
        command, cwd=ROOT, env=env | {"FIGURES": str(file)}, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(file.read_text())
    assert found["reasons"] == [], done.stderr
    figures = found["figures"]
    if function == "correct":
        assert figures["frames"] >= 6
        assert figures["highest_error_levels"] <= 2
        assert figures["filter_error"] < 1e-3
    else:
        assert figures["copy_bytes_per_s"] > 0
        for upsampling in ("nearest", "guided"):
            told = figures[f"{upsampling} 64x32"]
            assert told["moved_bytes"] == 64 * 32 * 5 // 2 + 131_072
            assert told["bytes_per_s"] > 0
            assert 0 < told["median_ms"] < told["one_waited_for"]["median_ms"] * 3
        assert figures["nearest batch of 4"]["bytes_per_s"] > 0


if __name__ == "__main__":
    run(sys.argv[1])
