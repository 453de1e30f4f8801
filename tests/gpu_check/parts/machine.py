"""What the figures were measured on."""

from __future__ import annotations

import platform
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version

from edge import __version__
from edge.inference.cuda import need_gpu
from edge.inference.tensorrt import tensorrt_version
from edge.kernels.nvrtc import Nvrtc
from edge.station.machine import l4t_release
from tests.gpu_check.figures import Figures

PACKAGES = ("numpy", "onnx", "onnxruntime-gpu", "onnxruntime", "torch", "triton", "cvcuda-cu13", "openvino")


def describe(figures: Figures) -> None:
    """Versions first: they are known also where there is no GPU."""
    versions = {"tapetum": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    figures["versions"] = versions
    with figures.going_on("TensorRT"):
        versions["tensorrt"] = tensorrt_version()
    with figures.going_on("NVRTC"):
        versions["nvrtc"] = ".".join(map(str, Nvrtc().version))
    if release := l4t_release():
        versions["l4t"] = release
    figures["versions"] = versions
    figures["gpu"] = asdict(need_gpu())
