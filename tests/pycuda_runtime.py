"""The real pycuda for tests on machines without a GPU: built from its source, on a driver of ours (cuda_driver.c).

What is tested so is that every call to pycuda exists, has the arguments that it takes and the effect that the code
counts on, threads and errors included. What a GPU does, only a GPU tells.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.kernels.build import gpu_library
from tests.tensorrt_runtime import download, made_once, unpack

PYCUDA = "pycuda==2026.1"
HEADERS = ("nvidia-cuda-runtime==13.0.96", "nvidia-cuda-profiler-api==13.0.85")
DRIVER = Path(__file__).with_name("cuda_driver.c")
COMPILE_S = 900


def pycuda_folder() -> Path:
    """A folder for PYTHONPATH with pycuda in it; compiled once, which takes a minute or two."""
    return made_once(f"{PYCUDA},{','.join(HEADERS)}", _assemble)


def pycuda_env(folder: Path) -> dict[str, str]:
    """The environment of a process that finds pycuda and, in `folder`, a driver."""
    pycuda = pycuda_folder()
    _compile_driver(folder, next(pycuda.glob("pycuda/_driver.*.so")))
    path = os.pathsep.join(filter(None, (str(pycuda), os.environ.get("PYTHONPATH"))))
    return os.environ | {"PYTHONPATH": path, "LD_LIBRARY_PATH": str(folder), "CUDA_KERNELS": str(gpu_library())}


def _assemble(requirements: str, folder: Path) -> None:
    work = folder / "work"
    for header in HEADERS:
        unpack(header, work)
    download(PYCUDA, work, "--no-binary", "pycuda")
    subprocess.run(["tar", "xzf", next(work.glob("pycuda-*.tar.gz")), "-C", work], check=True, timeout=60)
    include = next(work.glob("nvidia/**/cuda.h")).parent
    stub = ["gcc", "-shared", "-Wl,-soname,libcuda.so.1", "-x", "c", "-", "-o", work / "libcuda.so"]
    subprocess.run(stub, input="int cuInit(unsigned flags) { return 0; }\n", text=True, check=True, timeout=60)
    source = next(work.glob("pycuda-*/"))
    configure = ["configure.py", f"--cuda-inc-dir={include}", f"--cudadrv-lib-dir={work}", "--no-cuda-enable-curand"]
    subprocess.run([sys.executable, *configure], cwd=source, check=True, capture_output=True, timeout=60)
    install = ["install", "--quiet", "--no-deps", "--target", str(folder), "."]
    subprocess.run([sys.executable, "-m", "pip", *install], cwd=source, check=True, timeout=COMPILE_S)
    shutil.rmtree(work)


def _compile_driver(folder: Path, pycuda: Path) -> None:
    """The driver, and for each of its functions that no test needs one that returns CUDA_ERROR_NOT_SUPPORTED."""
    source = DRIVER.read_text(encoding="utf-8")
    ours = set(re.findall(r"^int (cu\w+)\(", source, re.MULTILINE))
    symbols = subprocess.run(["nm", "-D", "-u", pycuda], capture_output=True, text=True, check=True, timeout=60)
    others = set(re.findall(r"\b(cu[A-Z]\w+)", symbols.stdout)) - ours
    rest = "".join(f"int {name}(void) {{ return 801; }}\n" for name in sorted(others))
    compile_it = ["gcc", "-shared", "-fPIC", "-O1", "-Wl,-soname,libcuda.so.1", "-x", "c", "-"]
    subprocess.run(
        [*compile_it, "-o", folder / "libcuda.so.1"], input=source + rest, text=True, check=True, timeout=60
    )
