"""What is evaluated: the networks of a bundle in the runtime that ships, or those of a checkpoint in PyTorch.

Each opens as a context manager of the networks and their identity, a JSON object that says which they are. PyTorch is
imported for a checkpoint alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from edge.bundles.bundle import PrecisionChoice, load_bundle, sha256_of
from edge.bundles.manifest import ModelName
from edge.errors import ConfigError
from edge.types import Detections, UInt8Array
from edge.vision.networks import Networks
from edge.vision.scene import ColourNetworks

Identity = dict[str, Any]


class DetectingNetwork(Protocol):
    """A recognizer: see `edge.vision.networks.Networks`."""

    @property
    def labels(self) -> Sequence[str]:
        """Names of the labels that `detect` tells by index."""

    def detect(self, luma: UInt8Array) -> Detections:
        """Objects in a frame uint8[H, W]."""


@dataclass(frozen=True)
class Source:
    """Where the networks come from: a run folder or a bundle, one of the two.

    precision: of a bundle's networks, None being its own choice; context_weights: for a checkpoint's context network.
    """

    checkpoint: Path | None
    bundle: Path | None
    precision: PrecisionChoice | None = None
    context_weights: Path | None = None

    def __post_init__(self) -> None:
        if self.checkpoint and self.precision:
            raise ConfigError("--precision belongs to --bundle: a checkpoint runs in FP32")
        if self.bundle and self.context_weights:
            raise ConfigError("--context-weights belongs to --checkpoint: a bundle has its own context network")

    def colorizer(self) -> AbstractContextManager[tuple[ColourNetworks, Identity]]:
        """Raises InputError or BundleError where it cannot be loaded."""
        return self._of_bundle("context", "colorizer") if self.bundle else self._trained_colorizer()

    def recognizer(self) -> AbstractContextManager[tuple[DetectingNetwork, Identity]]:
        """Raises InputError or BundleError where it cannot be loaded."""
        return self._of_bundle("recognizer") if self.bundle else self._trained_recognizer()

    @contextmanager
    def _of_bundle(self, *models: ModelName) -> Iterator[tuple[Networks, Identity]]:
        assert self.bundle is not None
        bundle = load_bundle(self.bundle, self.precision or "auto")
        files = {model: bundle.model_path(model) for model in models}
        identity = {
            "bundle": bundle.manifest.name,
            "version": bundle.manifest.version,
            "precision": {
                model: bundle.manifest.models[model].chosen if bundle.precision == "auto" else bundle.precision
                for model in models
            },
            "sha256": {model: sha256_of(file) for model, file in files.items()},
        }
        with Networks(bundle) as networks:
            yield networks, identity

    @contextmanager
    def _trained_colorizer(self) -> Iterator[tuple[ColourNetworks, Identity]]:
        from training.judging.trained import TrainedColorizer

        assert self.checkpoint is not None
        network = TrainedColorizer(self.checkpoint, self.context_weights)
        yield network, _of_run(self.checkpoint, network.card)

    @contextmanager
    def _trained_recognizer(self) -> Iterator[tuple[DetectingNetwork, Identity]]:
        from training.judging.trained import TrainedRecognizer

        assert self.checkpoint is not None
        network = TrainedRecognizer(self.checkpoint)
        yield network, _of_run(self.checkpoint, network.card)


def _of_run(checkpoint: Path, card: Any) -> Identity:
    from training.checkpoint import run_folder

    return {"checkpoint": run_folder(checkpoint.absolute()).name, "card": asdict(card)}
