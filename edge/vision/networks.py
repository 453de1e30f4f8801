"""The networks of a bundle on the CPU, from frames to what they say. For the live lanes and `process` alike."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from edge.bundles.bundle import Bundle
from edge.bundles.manifest import MODEL_NAMES, Manifest, ModelName
from edge.closing import Closing
from edge.errors import BundleError
from edge.inference.base import Runner
from edge.inference.onnx import OnnxRunner
from edge.types import Detections, Float32Array, Int64Array, UInt8Array
from edge.vision.preprocess import Letterbox, letterbox, squash


class Networks(Closing):
    """Context network, colorizer and recognizer, or some of them, ready to run.

    `context` and `colour` belong to one thread, `detect` to one thread, which may be another. Results are new arrays.
    """

    def __init__(
        self,
        bundle: Bundle,
        models: Collection[ModelName] = MODEL_NAMES,
        *,
        threads: int = 0,
        cache_dir: Path | None = None,
        runner: type[OnnxRunner] = OnnxRunner,
    ) -> None:
        """Load the bundle's graphs in the precision it was loaded for.

        Args:
            models: which are loaded; the methods of the others must not be called.
            threads: CPU threads of each network; 0 leaves it to the runtime.
            cache_dir: where compiled networks are kept for the next start.
            runner: what runs the graphs; the build chain's own also looks at what they compute.

        Raises:
            BundleError: a graph cannot be read or is not what the manifest declares.
        """
        self.bundle = bundle
        self.labels = bundle.manifest.labels
        self._models = {name: bundle.manifest.models[name] for name in models}
        self._runners: dict[ModelName, Runner] = {}
        self._inputs = {name: np.zeros((1, 1, *model.input_size), np.float32) for name, model in self._models.items()}
        with ExitStack() as loading:
            for name, model in self._models.items():
                network = runner(
                    bundle.model_path(name),
                    model.inputs,
                    model.outputs,
                    threads=threads,
                    cache_dir=cache_dir,
                    content=bundle.read_graph(name),
                )
                self._runners[name] = loading.enter_context(network)
            self._open = loading.pop_all()

    def context(self, luma: UInt8Array) -> Float32Array:
        """The scene's context vector, float32[1, 1000] logits, of a frame uint8[H, W]."""
        image = self._squashed("context", luma)
        return np.array(self._runners["context"].run({"luma": image})["context"], np.float32)

    def colour(self, luma: UInt8Array, context: Float32Array) -> Float32Array:
        """Chroma of a frame: CIELAB a and b, float32[2, 128, 128], about -110..110.

        Args:
            luma: uint8[H, W].
            context: float32[1, 1000], of this scene: see `context`.
        """
        image = self._squashed("colorizer", luma)
        return np.array(self._runners["colorizer"].run({"luma": image, "context": context})["ab"][0], np.float32)

    def detect(self, luma: UInt8Array, min_score: float = 0.05) -> Detections:
        """Objects in a frame uint8[H, W], of at least `min_score`, boxes clipped to the frame, best first.

        Raises:
            BundleError: the network tells a label that the manifest does not have.
        """
        model, image = self._models["recognizer"], self._inputs["recognizer"]
        how = model.preprocessing
        assert how.pad is not None  # the manifest's check
        _, place = letterbox(luma, model.input_size, how.pad, scale=how.scale, out=image)
        found = self._runners["recognizer"].run({"image": image})
        detections = detections_of(found["boxes"][0], found["scores"][0], found["labels"][0], place, min_score)
        check_labels(detections.labels, self.bundle.manifest)
        return detections

    def close(self) -> None:
        """Free the networks."""
        self._open.close()

    def _squashed(self, name: ModelName, luma: UInt8Array) -> Float32Array:
        model = self._models[name]
        return squash(luma, model.input_size, scale=model.preprocessing.scale, out=self._inputs[name])


def check_labels(labels: Int64Array, manifest: Manifest) -> None:
    """Check what a recognizer tells.

    Raises:
        BundleError: it tells a label that the manifest does not have.
    """
    unknown = labels[(labels < 0) | (labels >= len(manifest.labels))]
    if len(unknown):
        raise BundleError(
            f"bundle {manifest.name} {manifest.version}: its recognizer tells label {unknown[0]} of "
            f"{len(manifest.labels)}: pack the bundle again"
        )


def detections_of(
    boxes: Float32Array, scores: Float32Array, labels: Int64Array, place: Letterbox, min_score: float
) -> Detections:
    """A recognizer's slots (boxes [N, 4] in its input's pixels, scores [N], labels [N]) as objects in the frame."""
    in_frame = place.boxes_to_frame(boxes)
    left, top, right, bottom = in_frame.T
    # Unused slots have score 0; a box that lies in the padding has no area; NaN compares false.
    kept = np.flatnonzero((scores > 0) & (scores >= min_score) & (right > left) & (bottom > top))
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    return Detections(in_frame[kept], labels[kept], scores[kept])
