"""The CUDA kernels compile for every board, without a GPU: by NVRTC always, by nvcc where the machine has it."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge.engines.cubins import SOURCES
from edge.kernels.launch import ARCHITECTURES, KERNELS, SOURCE
from edge.kernels.nvrtc import CompileError, Nvrtc

MERGES = tuple(name for name in KERNELS if "merge" in name)
MOST_REGISTERS = 128  # 128 threads x 4 blocks x 128 registers fill a multiprocessor
MOST_REGISTERS_OF = {"tapetum_grey": 64}  # it has 1024 threads
NVCC = shutil.which("nvcc")


@dataclass(frozen=True)
class Usage:
    registers: int
    stack_bytes: int
    spill_bytes: int


def usage_of(log: str) -> dict[str, Usage]:
    """Each kernel's figures from what ptxas -v reports."""
    found = {}
    for name, report in re.findall(r"entry function '(\w+)'(.*?Used \d+ registers)", log, re.DOTALL):
        stack, stores, loads = (
            int(re.search(rf"(\d+) bytes {what}", report)[1])
            for what in ("stack frame", "spill stores", "spill loads")
        )
        found[name] = Usage(int(re.search(r"Used (\d+)", report)[1]), stack, stores + loads)
    return found


def assert_lean(log: str, source: Path) -> None:
    usage = usage_of(log)
    assert usage.keys() == set(SOURCES[source])
    for name, kernel in usage.items():
        assert kernel.registers <= MOST_REGISTERS_OF.get(name, MOST_REGISTERS), name
        assert (kernel.stack_bytes, kernel.spill_bytes) == (0, 0), name


@pytest.fixture(scope="module")
def nvrtc() -> Nvrtc:
    return Nvrtc()


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nvrtc_makes_machine_code_without_spills(nvrtc: Nvrtc, architecture: str, source: Path) -> None:
    compiled = nvrtc.compile(source, architecture, ["--ptxas-options=-v"])
    assert compiled.code[:4] == b"\x7fELF"
    for name in SOURCES[source]:
        assert f".text.{name}".encode() in compiled.code
    assert_lean(compiled.log, source)


def test_ptx_accesses_16_bytes_at_a_time(nvrtc: Nvrtc) -> None:
    """PTX is for later GPUs. Each merge reads luma and writes Y' of two rows, and chroma; stills add six."""
    ptx = nvrtc.compile(SOURCE, "compute_87").code.decode()
    bodies = {name: ptx[ptx.index(f".entry {name}(") :].split("\n}\n")[0] for name in KERNELS}
    for name in MERGES:
        stores = 9 if name.endswith("picture") else 3
        assert len(re.findall(r"ld\.global(\.nc)?\.v4\.[ub]32", bodies[name])) == 2, name
        assert len(re.findall(r"st\.global\.v4\.[ub]32", bodies[name])) == stores, name
        assert ".local" not in bodies[name], name


def test_what_does_not_compile_is_told(nvrtc: Nvrtc, tmp_path: Path) -> None:
    source = tmp_path / "broken.cu"
    source.write_text('extern "C" __global__ void broken() { no_such_thing(); }\n', encoding="utf-8")
    with pytest.raises(CompileError, match=r"broken.cu does not compile for sm_87: .*no_such_thing"):
        nvrtc.compile(source, "sm_87")


def test_the_compiler_tells_its_version(nvrtc: Nvrtc) -> None:
    assert nvrtc.version >= (13, 0)


@pytest.mark.skipif(NVCC is None, reason="no nvcc here; NVRTC compiles the same source")
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nvcc_compiles_it_too(architecture: str, source: Path, tmp_path: Path) -> None:
    version = architecture.removeprefix("sm_")
    codes = f"arch=compute_{version},code=[{architecture},compute_{version}]"
    command = [NVCC, "-std=c++17", "-Xptxas=-v", "-Werror=all-warnings", "-gencode", codes, "-fatbin", source]
    result = subprocess.run([*command, "-o", tmp_path / "kernels"], capture_output=True, text=True, timeout=110)
    assert result.returncode == 0, result.stderr
    assert_lean(result.stderr, source)
