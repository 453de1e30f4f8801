"""Engines: what each was built from and for, and which one this machine may load.

An engine (TensorRT's plan) is executable code bound to one TensorRT version and one GPU; a foreign or damaged one can
crash the process that loads it. So each has a sidecar, and nothing reaches TensorRT that was not checked here first.
Engines are a cache: they are built on the unit from the bundle's graphs and never travel.

::

    <engines>/<model>.<precision>.<key>-<content>.engine   what TensorRT built; content: from its sha256
    <engines>/<model>.<precision>.<key>-<content>.json     its sidecar, written last: an engine without is unfinished
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from edge.bundles.manifest import ModelName, Precision, Sha256, TensorSpec, Text, explain
from edge.errors import BundleError, one_line

SIDECAR_LIMIT_BYTES = 1 << 20
KEY_DIGITS, CONTENT_DIGITS = 12, 8
DRY_RUN = "a dry run, built without a GPU"


class EngineError(BundleError):
    """An engine that this machine must not load. `reason` is why, in words, without the file and the cure."""

    def __init__(self, where: Path | str, reason: str) -> None:
        super().__init__(f"{where}: {reason}: run tapetum-build ensure")
        self.reason = reason


class _Section(BaseModel):
    """Unknown keys are errors; values are not coerced from other types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Flags(_Section):
    """How an engine is built.

    Attributes:
        workspace_mib: GPU memory that a layer may use as scratch, in MiB.
        level: TensorRT's builder_optimization_level: 0 builds fastest, 5 searches longest.
        converter: who makes the network: TensorRT's ONNX parser, or torch2trt from the checkpoint.
    """

    workspace_mib: Annotated[int, Field(ge=1, le=1 << 20)] = 1024
    level: Annotated[int, Field(ge=0, le=5)] = 3
    converter: Literal["onnx", "torch2trt"] = "onnx"

    def __str__(self) -> str:
        return f"workspace {self.workspace_mib} MiB, level {self.level}, converter {self.converter}"


class Sidecar(_Section):
    """What stands beside an engine. A dry run is one that was built without a GPU: it is never loaded.

    Attributes:
        cuda: newest CUDA that the driver ran, "12.6".
        l4t: release of Jetson Linux, "36.4.3"; None elsewhere.
        compute_capability: of the GPU, "8.7" for Orin.
        calibration_sha256: of the images that INT8 was calibrated with.
    """

    schema_number: Literal[1] = Field(default=1, alias="schema")
    model: ModelName
    precision: Precision
    onnx_sha256: Sha256
    engine_sha256: Sha256
    engine_bytes: Annotated[int, Field(ge=1)]
    tensorrt: Text
    cuda: Text | None
    l4t: Text | None
    gpu: Text | None
    compute_capability: Annotated[str, Field(pattern=r"^\d+\.\d+$")] | None
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    flags: Flags
    calibration_sha256: Sha256 | None
    created_at: AwareDatetime
    dry_run: bool

    @model_validator(mode="after")
    def _only_a_dry_run_has_no_gpu(self) -> Sidecar:
        if self.dry_run != (self.gpu is None) or self.dry_run != (self.compute_capability is None):
            raise ValueError("gpu and compute_capability belong to every engine but a dry run")
        return self

    @property
    def target(self) -> Target:
        """What it was built for."""
        return Target(self.tensorrt, self.gpu, self.compute_capability)


@dataclass(frozen=True, slots=True)
class Target:
    """What an engine is bound to. Without a GPU there are dry runs only."""

    tensorrt: str
    gpu: str | None
    compute_capability: str | None

    @property
    def is_dry_run(self) -> bool:
        return self.gpu is None


@dataclass(frozen=True, slots=True)
class Wanted:
    """The engine that a machine needs for one network; without `flags`, however it was built."""

    model: ModelName
    precision: Precision
    onnx_sha256: str
    target: Target
    flags: Flags | None = None


@dataclass(frozen=True, slots=True)
class LoadedEngine:
    """An engine that this machine may load, read once: `plan` is the content, for TensorRT."""

    path: Path
    plan: bytes


def engine_key(onnx_sha256: str, target: Target, flags: Flags) -> str:
    """Hexadecimal sha256 over all that a rebuild depends on: the same inputs give the same name."""
    identity = {"onnx": onnx_sha256, "target": asdict(target), "flags": flags.model_dump()}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def engine_name(model: ModelName, precision: Precision, key: str, engine_sha256: str) -> str:
    """What the engine's file is called, other than what it replaces; `key` as `engine_key` gives it."""
    return f"{model}.{precision}.{key[:KEY_DIGITS]}-{engine_sha256[:CONTENT_DIGITS]}.engine"


def sidecar_path(engine: Path) -> Path:
    """Where an engine's sidecar lies."""
    return engine.with_suffix(".json")


def engines_of(folder: Path, model: ModelName, precision: Precision) -> list[Path]:
    """All engines of a network in one precision, fit or not; none where there is no such folder."""
    key, content = ("[0-9a-f]" * digits for digits in (KEY_DIGITS, CONTENT_DIGITS))
    return sorted(p for p in folder.glob(f"{model}.{precision}.{key}-{content}.engine") if not p.is_dir())


def read_sidecar(engine: Path) -> Sidecar:
    """Read what stands beside an engine.

    Raises:
        EngineError: there is no sidecar, or it is damaged or of a newer Tapetum.
    """
    try:
        with sidecar_path(engine).open("rb") as file:
            text = file.read(SIDECAR_LIMIT_BYTES + 1)
    except FileNotFoundError as error:
        raise EngineError(engine, "no sidecar beside it: its build did not end") from error
    except OSError as error:
        raise EngineError(engine, f"its sidecar cannot be read ({error.strerror})") from error
    if len(text) > SIDECAR_LIMIT_BYTES:
        raise EngineError(engine, "its sidecar is damaged (too long)")
    try:
        return Sidecar.model_validate_json(text)
    except ValidationError as error:
        raise EngineError(engine, f"its sidecar is damaged or not of this version ({explain(error)})") from error


def read_engine(engine: Path, target: Target) -> bytes:
    """The content of an engine, for TensorRT, once it is known that this machine may load it.

    Raises:
        EngineError: a dry run, built for another TensorRT or GPU, or not the file that was built.
    """
    sidecar = read_sidecar(engine)
    if reason := DRY_RUN if sidecar.dry_run else _foreign(sidecar, target):
        raise EngineError(engine, reason)
    return _content(engine, sidecar)


def check_engine(engine: Path, wanted: Wanted) -> Sidecar:
    """Whether an engine is the wanted one, whole, and fit for this machine.

    Raises:
        EngineError: it is not.
    """
    sidecar = read_sidecar(engine)
    if reason := _other(sidecar, wanted) or _foreign(sidecar, wanted.target):
        raise EngineError(engine, reason)
    _content(engine, sidecar)
    return sidecar


def find_engine(folder: Path, wanted: Wanted) -> Path:
    """The newest of `fit_engines`."""
    return fit_engines(folder, wanted)[0]


def fit_engines(folder: Path, wanted: Wanted) -> list[Path]:
    """The engines in `folder` that are the wanted one, whole, and fit for this machine: the newest first.

    Raises:
        EngineError: there is none; of each that was looked at, the reason.
    """
    fit, reasons = [], []
    for engine in engines_of(folder, wanted.model, wanted.precision):
        try:
            fit.append((check_engine(engine, wanted).created_at, engine))
        except EngineError as error:
            reasons.append(f"{engine.name}: {error.reason}")
    if not fit:
        where = f"{folder}: no {wanted.precision} engine of {wanted.model} for this machine"
        raise EngineError(where, "; ".join(reasons) or "none was built")
    return [engine for _, engine in sorted(fit, reverse=True)]


def _other(sidecar: Sidecar, wanted: Wanted) -> str | None:
    """Why it is not the engine that is wanted."""
    if (sidecar.model, sidecar.precision) != (wanted.model, wanted.precision):
        return f"an engine of {sidecar.model} {sidecar.precision}"
    if sidecar.onnx_sha256 != wanted.onnx_sha256:
        return "built from another ONNX file"
    if wanted.flags not in (None, sidecar.flags):
        return f"built with other flags ({sidecar.flags})"
    return None


def _foreign(sidecar: Sidecar, target: Target) -> str | None:
    """Why an engine does not fit this machine."""
    if sidecar.dry_run and not target.is_dry_run:
        return DRY_RUN
    if sidecar.tensorrt != target.tensorrt:
        return one_line(f"built by TensorRT {sidecar.tensorrt}, here is {target.tensorrt}")
    if (sidecar.gpu, sidecar.compute_capability) != (target.gpu, target.compute_capability):
        here = f"is {target.gpu} ({target.compute_capability})" if target.gpu else "is no GPU"
        return one_line(f"built on {sidecar.gpu} ({sidecar.compute_capability}), here {here}")
    return None


def _content(engine: Path, sidecar: Sidecar) -> bytes:
    try:
        size = engine.stat().st_size
        content = engine.read_bytes() if size == sidecar.engine_bytes else b""
    except OSError as error:
        raise EngineError(engine, f"cannot be read ({error.strerror})") from error
    if len(content) != sidecar.engine_bytes:
        raise EngineError(engine, f"{size} bytes instead of {sidecar.engine_bytes}: truncated or altered")
    if hashlib.sha256(content).hexdigest() != sidecar.engine_sha256:
        raise EngineError(engine, "sha256 differs from its sidecar: altered")
    return content
