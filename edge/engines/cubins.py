"""Cubins: the machine code of the GPU's kernels, compiled on the unit when its engines are built.

They lie beside the engines and are checked as those are: nothing reaches the driver that was not compiled for this
GPU from the source that is installed.

::

    <engines>/<source>.<architecture>.cubin   "lab_merge.sm_87.cubin"
    <engines>/<source>.<architecture>.json    its sidecar, written last
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge.bundles.manifest import Sha256, Text
from edge.engines.store import SIDECAR_LIMIT_BYTES, EngineError, sidecar_path
from edge.kernels import launch, resize

SCHEMA: Final = 1
SOURCES = {launch.SOURCE: launch.KERNELS, resize.SOURCE: resize.KERNELS}
"""What is compiled -> the kernels in it."""


class CubinError(EngineError):
    """A cubin that this machine must not load."""


class CubinSidecar(BaseModel):
    """What stands beside a cubin.

    Attributes:
        source: name of the file that was compiled.
        nvrtc: CUDA version of the compiler, "12.6".
        compute_capability: of the GPU that it is for, "8.7" for Orin.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    schema_number: Literal[1] = Field(default=SCHEMA, alias="schema")
    source: Text
    source_sha256: Sha256
    cubin_sha256: Sha256
    cubin_bytes: Annotated[int, Field(ge=1, le=1 << 26)]  # reading allocates so much at once
    compute_capability: Annotated[str, Field(pattern=r"^\d+\.\d+$")]
    nvrtc: Text


def architecture(compute_capability: str) -> str:
    """NVRTC's name for the GPUs of a compute capability: "8.7" is sm_87."""
    return f"sm_{compute_capability.replace('.', '')}"


def cubin_path(folder: Path, source: Path, compute_capability: str) -> Path:
    """Where the cubin of a source lies."""
    return folder / f"{source.stem}.{architecture(compute_capability)}.cubin"


def read_cubin(folder: Path, source: Path, compute_capability: str) -> bytes:
    """The machine code of a source for the GPUs of a compute capability, once it is known to be whole and its own.

    Raises:
        CubinError: there is none, it is damaged, or compiled from another source or for another GPU.
    """
    path = cubin_path(folder, source, compute_capability)
    sidecar = _read_sidecar(path)
    if sidecar.source_sha256 != sha256(source.read_bytes()).hexdigest():
        raise CubinError(path, f"compiled from another {source.name}")
    if sidecar.compute_capability != compute_capability:
        raise CubinError(path, f"compiled for a GPU of {sidecar.compute_capability}, here is {compute_capability}")
    content = _read(path, sidecar.cubin_bytes)
    if sha256(content).hexdigest() != sidecar.cubin_sha256:
        raise CubinError(path, "truncated or altered")
    return content


def _read_sidecar(cubin: Path) -> CubinSidecar:
    text = _read(sidecar_path(cubin), SIDECAR_LIMIT_BYTES)
    try:
        return CubinSidecar.model_validate_json(text)
    except ValidationError as error:
        raise CubinError(cubin, "its sidecar is damaged or not of this version") from error


def _read(path: Path, limit_bytes: int) -> bytes:
    """The file, at most one byte more than the limit."""
    try:
        with path.open("rb") as file:
            return file.read(limit_bytes + 1)
    except FileNotFoundError as error:
        raise CubinError(path, "the GPU's kernels were not compiled for this machine") from error
    except OSError as error:
        raise CubinError(path, f"cannot be read ({error.strerror})") from error
