"""Which engines of a bundle the service runs: the best that this machine can load and run.

An engine of the wanted precision comes first, the newest before older ones (built with other flags); with precision
"auto" those of the bundle's other precisions come after it, the smallest first. Engines of another bundle are never
taken, however well they fit: its labels and its accuracy are not this one's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import TypeVar

from edge.bundles.bundle import Bundle
from edge.bundles.manifest import MODEL_NAMES, PRECISIONS, ModelName, Precision
from edge.engines.store import EngineError, LoadedEngine, Target, Wanted, fit_engines, read_engine, read_sidecar
from edge.errors import TapetumError
from edge.inference.cuda import GpuFaultError
from edge.vision.base import Colourist, Detector

Engines = Mapping[ModelName, LoadedEngine]
Part = TypeVar("Part", Colourist, Detector)


class EngineChoice:
    """The engines of a bundle that fit this machine.

    Attributes:
        precisions: of the engines that work, as they are found.
        paths: theirs.
        troubles: what was wrong with better ones, a line each.
    """

    def __init__(self, bundle: Bundle, folder: Path, target: Target) -> None:
        """Look for engines of all networks.

        Raises:
            EngineError: a network has none.
        """
        self.precisions: dict[ModelName, Precision] = {}
        self.paths: set[Path] = set()
        self.troubles: list[str] = []
        self._target = target
        self._found = {model: self._find(bundle, model, folder) for model in MODEL_NAMES}

    def first_that_works(
        self, models: Sequence[ModelName], opened: Callable[[Engines], Part], tried: Callable[[Part], None]
    ) -> Part:
        """What needs engines of `models`, opened with the first ones that it can be `opened` and `tried` with.

        Raises:
            GpuFaultError: nothing works on this GPU any more.
            TapetumError: it works with none; why not with the best.
        """
        errors: list[TapetumError] = []
        for paths in product(*(self._found[model] for model in models)):
            try:
                part = self._try(dict(zip(models, paths, strict=True)), opened, tried)
            except GpuFaultError:
                raise
            except TapetumError as error:
                errors.append(_bare(error))
            else:
                self.troubles += map(str, errors)
                return part
        raise errors.pop(0)

    def _try(
        self, paths: Mapping[ModelName, Path], opened: Callable[[Engines], Part], tried: Callable[[Part], None]
    ) -> Part:
        engines = {model: LoadedEngine(path, read_engine(path, self._target)) for model, path in paths.items()}
        with ExitStack() as opening:
            part = opening.enter_context(opened(engines))
            tried(part)
            opening.pop_all()
        self.paths.update(paths.values())
        self.precisions |= {model: read_sidecar(path).precision for model, path in paths.items()}
        return part

    def _find(self, bundle: Bundle, model: ModelName, folder: Path) -> list[Path]:
        found: list[Path] = []
        better: list[EngineError] = []
        for precision in _precisions(bundle, model):
            onnx = bundle.manifest.models[model].precisions[precision].sha256
            try:
                found += fit_engines(folder, Wanted(model, precision, onnx, self._target))
            except EngineError as error:
                if not found:
                    better.append(error)
        if not found:
            raise better[0]
        self.troubles += map(str, better[:1])
        return found


def _bare(error: TapetumError) -> TapetumError:
    """The error alone: its frames hold what was opened until then, and the GPU's memory is needed for the next."""
    error.__cause__ = error.__context__ = error.__traceback__ = None
    return error


def _precisions(bundle: Bundle, model: ModelName) -> Iterator[Precision]:
    """Those that the network may run in, the wanted one first."""
    wanted, entry = bundle.precision_of(model), bundle.manifest.models[model]
    yield wanted
    if bundle.precision == "auto":
        refused = () if bundle.allow_refused else entry.refused
        yield from (
            each for each in reversed(PRECISIONS) if each in entry.precisions and each not in (wanted, *refused)
        )
