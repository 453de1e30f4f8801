"""What the service does when the GPU fails: the real pycuda on a driver of ours. Each runs in a process of its own.

::

    python -m tests.edge.backend_cases CASE CONFIG   (the environment is that of tests/pycuda_runtime.py)

CONFIG names a bundle whose real engines, built for a GPU called Double, lie in its state folder.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from pathlib import Path

import numpy as np

from edge.__main__ import main
from edge.config import load_config
from edge.inference.cuda import open_device
from edge.opening import open_bundle
from edge.types import UInt8Array
from edge.vision.backend import open_backend
from edge.vision.cpu import CpuColourist

GREY = np.full((48, 64), 128, np.uint8)
FRAMES = 5


def falls_back(path: Path, reason: str) -> None:
    config = load_config(path)
    with open_backend(config, open_bundle(config)) as backend:
        backend.colourist.renew_context(GREY)
        assert backend.colourist.nv12(GREY).shape == (72, 64)
        assert len(backend.detector.detect(GREY)) == 1
    assert backend.name == "openvino"
    assert re.search(reason, backend.detail), backend.detail


def tensorrt_refuses(path: Path) -> None:
    """The driver of ours is none that TensorRT takes; engines and cubins are sound, and get as far as that."""
    falls_back(path, "^NVIDIA's driver is too old for TensorRT 11.*: install a newer driver$")


def no_device(path: Path) -> None:
    os.environ["CUDA_FAILS"] = "cuInit=100"
    falls_back(path, "no GPU that CUDA can use: cuInit failed")


def no_context(path: Path) -> None:
    os.environ["CUDA_FAILS"] = "cuDevicePrimaryCtxRetain=46"
    falls_back(path, "the GPU Double cannot be used")


def another_gpu(path: Path) -> None:
    """The service was moved to a machine whose GPU is another: here the engines say so."""
    engines = load_config(path).service.engines_dir
    for sidecar in engines.glob("*.json"):
        sidecar.write_text(sidecar.read_text().replace('"gpu": "Double"', '"gpu": "Orin"'))
    falls_back(path, r"no fp32 engine of context .*built on Orin \(8.7\), here is Double \(8.7\)")


def no_cubin(path: Path) -> None:
    for cubin in load_config(path).service.engines_dir.glob("*.cubin"):
        cubin.unlink()
    falls_back(path, "cubin.*run tapetum-build ensure")


def a_kernel_that_does_not_load(path: Path) -> None:
    os.environ["CUDA_FAILS"] = "cuModuleLoadDataEx=200"
    falls_back(path, "Double refused: cuModuleLoadDataEx failed")


def a_fault_at_the_start(path: Path) -> None:
    os.environ["CUDA_FAILS"] = "cuModuleLoadDataEx=700"
    falls_back(path, "Double failed: .*an illegal memory access")


def a_fault_ends_the_service(path: Path) -> None:
    """A kernel faults in a running lane: one line, exit code 1, and systemd starts the service again."""
    device, colour, frames = open_device(), CpuColourist.nv12, 0
    with device.current():
        stream = device.stream()

    def nv12(self: CpuColourist, luma: UInt8Array) -> UInt8Array:
        nonlocal frames
        frames += 1
        if frames == FRAMES:
            os.environ["CUDA_FAILS"] = "cuStreamSynchronize=700"
        with device.current():
            stream.synchronize()
        return colour(self, luma)

    def close(self: CpuColourist) -> None:
        with device.current():
            stream.synchronize()  # after a fault nothing works, not even to free

    CpuColourist.nv12, CpuColourist.close = nv12, close  # type: ignore[method-assign]
    assert main(["run", "--config", str(path)]) == 1
    assert frames == FRAMES


CASES = [
    tensorrt_refuses,
    no_device,
    no_context,
    another_gpu,
    no_cubin,
    a_kernel_that_does_not_load,
    a_fault_at_the_start,
    a_fault_ends_the_service,
]

if __name__ == "__main__":
    logging.disable(logging.WARNING)  # what the backend's detail says
    next(case for case in CASES if case.__name__ == sys.argv[1])(Path(sys.argv[2]))
    print("done")
