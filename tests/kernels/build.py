"""The merge kernel's libraries, built from the sources as they are now: never the one of the last installation."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from ctypes import c_uint
from functools import cache
from pathlib import Path

import tomli

from edge.kernels.launch import SOURCE, Launch, cell_luma_launch, filter_launch, grey_launch, merge_launch
from edge.kernels.native import NativeMerge
from edge.kernels.parameters import CellLumaParams, FilterParams, GreyParams, MergeParams
from edge.kernels.resize import ResizeParams, resize_launch

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "kernels"
GPU_ON_CPU = Path(__file__).with_name("gpu_on_cpu.cpp")
COMPILE_S = 300


@cache
def native_library(*more_flags: str) -> Path:
    """The CPU library, with the flags of the installation."""
    project = tomli.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (extension,) = project["tool"]["setuptools"]["ext-modules"]
    return _built(
        ROOT / extension["sources"][0], [*extension["extra-compile-args"], "-Wall", "-Wextra", "-Werror", *more_flags]
    )


@cache
def gpu_library() -> Path:
    """The GPU kernels, with threads for a block's threads."""
    flags = ["-std=c++17", "-O1", "-pthread", "-Wall", "-Wextra", "-Werror", "-Wno-pragmas", "-Wno-unknown-pragmas"]
    return _built(GPU_ON_CPU, flags)


def _built(source: Path, flags: list[str]) -> Path:
    """Compile, once for each state of the sources."""
    command = [os.environ.get("CXX", "c++"), *flags, "-shared", "-fPIC", f"-I{SOURCE.parent}", str(source)]
    sources = (source, *sorted(SOURCE.parent.glob("*.cu")))
    state = hashlib.sha256(b"".join([" ".join(command).encode(), *(path.read_bytes() for path in sources)]))
    library = CACHE / f"{source.stem}-{state.hexdigest()[:16]}.so"
    if not library.exists():
        assert shutil.which(command[0]), f"no C++ compiler: install the packages of packages.txt ({command[0]})"
        CACHE.mkdir(parents=True, exist_ok=True)
        part = library.with_suffix(f".{os.getpid()}")
        subprocess.run([*command, "-o", part], check=True, timeout=COMPILE_S)
        part.replace(library)
    return library


class GpuOnCpu(NativeMerge):
    """The GPU kernels as a MergeKernel, launched as on a GPU."""

    name = "gpu"

    def __init__(self) -> None:
        super().__init__(gpu_library())

    def run_merge(self, params: MergeParams) -> None:
        self._launch(merge_launch(params))

    def run_filter(self, params: FilterParams) -> None:
        self._launch(filter_launch(params))

    def run_cell_luma(self, params: CellLumaParams) -> None:
        self._launch(cell_luma_launch(params))

    def run_grey(self, params: GreyParams) -> None:
        self._launch(grey_launch(params))

    def run_resize(self, params: ResizeParams) -> None:
        self._launch(resize_launch(params))

    def _launch(self, launch: Launch) -> None:
        grid, block = (c_uint * 3)(*launch.grid), (c_uint * 3)(*launch.block)
        assert self._library.launch_kernel(launch.kernel.encode(), launch.params, grid, block) == 0
