"""Cubins of the GPU's kernels: compiled on the unit, kept beside the engines, renewed when they do not fit."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from edge.atomic import write_atomic
from edge.engines.cubins import SOURCES, CubinError, CubinSidecar, architecture, cubin_path, read_cubin
from edge.engines.store import sidecar_path
from edge.kernels.nvrtc import Nvrtc
from trt_build.engines.folder import writing
from trt_build.engines.phases import Phases
from trt_build.engines.stoppable import run_stoppable


def ensure_cubins(folder: Path, compute_capability: str) -> list[Path]:
    """Compile what is missing, stale or damaged. It takes some seconds and no GPU.

    Args:
        folder: of the engines; made where it is missing.
        compute_capability: of the GPU, "8.7" for Orin.

    Returns:
        The cubins that were compiled; none when all fit already.

    Raises:
        CompileError: there is no NVRTC, or it does not know this GPU.
        TapetumError: the folder cannot be written to.
    """
    return [
        _compile(folder, source, compute_capability)
        for source in SOURCES
        if not _fits(folder, source, compute_capability)
    ]


def build_cubins(folder: Path, compute_capability: str) -> list[Path]:
    """Compile all of them, fit or not. See `ensure_cubins`."""
    return [_compile(folder, source, compute_capability) for source in SOURCES]


def _fits(folder: Path, source: Path, compute_capability: str) -> bool:
    try:
        read_cubin(folder, source, compute_capability)
    except CubinError:
        return False
    return True


def _compile(folder: Path, source: Path, compute_capability: str) -> Path:
    nvrtc = Nvrtc()
    name = architecture(compute_capability)
    code = run_stoppable(lambda: nvrtc.compile(source, name).code, Phases(), lambda phase, percent: None)
    sidecar = CubinSidecar(
        source=source.name,
        source_sha256=sha256(source.read_bytes()).hexdigest(),
        cubin_sha256=sha256(code).hexdigest(),
        cubin_bytes=len(code),
        compute_capability=compute_capability,
        nvrtc=".".join(map(str, nvrtc.version)),
    )
    cubin = cubin_path(folder, source, compute_capability)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(cubin, code)  # between these two lines it does not match its sidecar, and is refused
        write_atomic(sidecar_path(cubin), sidecar.model_dump_json(by_alias=True, indent=1).encode() + b"\n")
    return cubin
