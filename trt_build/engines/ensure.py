"""Which engines of a bundle, and which of the GPU's kernels, are missing or stale; their renewal. What fits is left.

The last good engine stays in its place until the new one has been built and has passed its check.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path

from edge.bundles.bundle import Bundle
from edge.bundles.manifest import MODEL_NAMES, ModelEntry, ModelName, Precision
from edge.engines.progress import BuildProgress, BuildState
from edge.engines.store import EngineError, Flags, Sidecar, Target, Wanted, engine_key, engine_name, find_engine
from edge.errors import BundleError, TapetumError
from edge.inference.cuda import find_gpu
from edge.station.machine import l4t_release
from trt_build.engines.builder import Built, build_engine
from trt_build.engines.folder import (
    locked,
    read_refusal,
    read_timing,
    refusal_path,
    remove_superseded,
    staged,
    timing_path,
    write_refusal,
    write_timing,
)
from trt_build.engines.kernels import build_cubins, ensure_cubins
from trt_build.engines.phases import Phases
from trt_build.engines.reports import Tell
from trt_build.engines.stoppable import Report, run_stoppable
from trt_build.graphs import read_interface


class EngineDiffersError(TapetumError):
    """An engine does not compute what its graph says."""


@dataclass(frozen=True, slots=True)
class Network:
    """One network of a bundle, in the precision that its engine is wanted in."""

    name: ModelName
    precision: Precision
    entry: ModelEntry
    onnx: Path

    @property
    def onnx_sha256(self) -> str:
        """Of the file, by the manifest."""
        return self.entry.precisions[self.precision].sha256

    def at(self, state: BuildState, detail: str, percent: int | None = None) -> BuildProgress:
        """Where the work on it is."""
        return BuildProgress(state=state, model=self.name, precision=self.precision, detail=detail, percent=percent)


Convert = Callable[[Network, Flags, Report, bytes], Built]
Check = Callable[[Network, Path], None]
Compile = Callable[[Path, str], list[Path]]  # folder, compute capability: see `ensure_cubins`


def from_onnx(network: Network, flags: Flags, report: Report, timing: bytes) -> Built:
    """The usual way to an engine: TensorRT's ONNX parser. Errors are those of `build_engine`, and

    Raises:
        BundleError: the graph has other inputs or outputs than the manifest says.
    """
    if read_interface(network.onnx) != (network.entry.inputs, network.entry.outputs):
        raise BundleError(
            f"{network.onnx}: other inputs or outputs than the manifest says: pack the bundle again from its graphs"
        )
    return build_engine(network.onnx, flags, report, timing, sha256=network.onnx_sha256)


def from_checkpoint(checkpoint: Path) -> Convert:
    """The way through torch2trt; errors are those of `trt_build.torch2trt.convert`. It measures without a cache."""

    def convert_network(network: Network, flags: Flags, report: Report, timing: bytes) -> Built:
        from trt_build.torch2trt import convert

        phases = Phases()
        phases.start("torch2trt", None, steps=1)  # it does not tell how far it is
        engine = run_stoppable(lambda: convert(checkpoint, network.name, network.precision), phases, report)
        return Built(engine, timing)

    return convert_network


@dataclass(frozen=True)
class Workshop:
    """Builds engines of one bundle into one folder.

    Attributes:
        target: what they are for; without a GPU they are dry runs.
        tell: is told of each step.
        any_flags: whether `ensure` keeps an engine that was built with other flags.
        check: raises an EngineDiffersError where a new engine does not compute what its ONNX file says, and other
            TapetumErrors where that cannot be known; None checks nothing.
        convert: makes an engine of a network.
    """

    bundle: Bundle
    folder: Path
    target: Target
    flags: Flags
    tell: Tell
    any_flags: bool = False
    check: Check | None = None
    convert: Convert = from_onnx

    def ensure(self, models: Sequence[ModelName] = MODEL_NAMES) -> list[Path]:
        """Build what is missing, stale or damaged, and remove what it replaces.

        An engine that did not pass its check is not built again: only another bundle, TensorRT or flag changes that.

        Returns:
            The engines that were built; none when all fit already.

        Raises:
            TapetumError: some could not be built; the others were, and of those the older engine is as it was.
        """
        return self._all(models, ensure_cubins, self._ensure)

    def build(self, models: Sequence[ModelName] = MODEL_NAMES) -> list[Path]:
        """Build all of them, fit or not.

        Raises:
            TapetumError: as `ensure`.
        """
        return self._all(models, build_cubins, lambda network: self._renew(network, "as asked"))

    def _all(
        self, models: Sequence[ModelName], compile_all: Compile, work: Callable[[Network], Path | None]
    ) -> list[Path]:
        built, faults = [], []
        with locked(self.folder, lambda reason: self.tell(BuildProgress(state="waiting", detail=reason))):
            try:
                self._kernels(compile_all)
            except TapetumError as error:
                faults.append(error)
            for network in self._networks(models):
                try:
                    if engine := work(network):
                        built.append(engine)
                except TapetumError as error:
                    self.tell(network.at("failed", str(error)))
                    faults.append(error)
        if faults:
            raise _together(faults)
        return built

    def _kernels(self, compile_all: Compile) -> None:
        """The GPU's own kernels, which are of no bundle."""
        if self.target.compute_capability is None:
            return
        for cubin in compile_all(self.folder, self.target.compute_capability):
            self.tell(BuildProgress(state="built", detail=cubin.name))

    def _networks(self, models: Sequence[ModelName]) -> Iterator[Network]:
        for name in models:
            entry, precision = self.bundle.manifest.models[name], self.bundle.precision_of(name)
            yield Network(name, precision, entry, self.bundle.model_path(name))

    def _ensure(self, network: Network) -> Path | None:
        flags = None if self.any_flags else self.flags
        wanted = Wanted(network.name, network.precision, network.onnx_sha256, self.target, flags)
        try:
            engine = find_engine(self.folder, wanted)
        except EngineError as error:
            if refusal := read_refusal(self._refusal(network)):
                raise EngineDiffersError(f"{refusal}; tapetum-build build tries again") from error
            return self._renew(network, error.reason)
        self.tell(network.at("kept", engine.name))
        remove_superseded(engine)
        return None

    def _renew(self, network: Network, reason: str) -> Path:
        self.tell(network.at("building", reason, 0))
        started_s = time.monotonic()
        engine = self._convert(network)
        sidecar = self._sidecar(network, engine)
        file = engine_name(network.name, network.precision, self._key(network), sidecar.engine_sha256)
        with staged(self.folder, file, engine, sidecar) as candidate:
            self._check(network, candidate)
        remove_superseded(self.folder / file)
        cost = f"{len(engine) / 1e6:.1f} MB in {time.monotonic() - started_s:.1f} s"
        self.tell(network.at("built", f"{file}, {cost} ({reason})", 100))
        return self.folder / file

    def _check(self, network: Network, candidate: Path) -> None:
        if self.check is None:
            return
        self.tell(network.at("verifying", candidate.name))
        try:
            self.check(network, candidate)
        except EngineDiffersError as error:
            write_refusal(self._refusal(network), str(error))
            raise

    def _key(self, network: Network) -> str:
        return engine_key(network.onnx_sha256, self.target, self.flags)

    def _refusal(self, network: Network) -> Path:
        return refusal_path(self.folder, network.name, network.precision, self._key(network))

    def _convert(self, network: Network) -> bytes:
        def report(phase: str, percent: int) -> None:
            self.tell(network.at("building", phase, percent))

        if self.target.is_dry_run:  # it measures nothing, and TensorRT reads a timing cache on a GPU only
            return self.convert(network, self.flags, report, b"").engine
        path = timing_path(self.folder, self.target)
        built = self.convert(network, self.flags, report, read_timing(path))
        write_timing(path, built.timing)
        return built.engine

    def _sidecar(self, network: Network, engine: bytes) -> Sidecar:
        gpu = None if self.target.is_dry_run else find_gpu()
        calibration = self.bundle.manifest.calibration if network.precision == "int8" else None
        return Sidecar(
            model=network.name,
            precision=network.precision,
            onnx_sha256=network.onnx_sha256,
            engine_sha256=sha256(engine).hexdigest(),
            engine_bytes=len(engine),
            tensorrt=self.target.tensorrt,
            cuda=gpu.driver if gpu else None,
            l4t=l4t_release(),
            gpu=self.target.gpu,
            compute_capability=self.target.compute_capability,
            inputs=network.entry.inputs,
            outputs=network.entry.outputs,
            flags=self.flags,
            calibration_sha256=calibration.sha256 if calibration else None,
            created_at=datetime.now(timezone.utc),
            dry_run=self.target.is_dry_run,
        )


def _together(faults: Sequence[TapetumError]) -> TapetumError:
    """One error that tells all, with the exit code of the first."""
    if len(faults) == 1:
        return faults[0]
    error = TapetumError("; ".join(dict.fromkeys(map(str, faults))))  # a full disk is the same for all
    error.exit_code = faults[0].exit_code
    return error
