"""Accuracy of a bundle's networks in any mix of precisions, through the runtime that ships: what is measured runs.

The judges are training's, and know no network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge.bundles.bundle import Bundle
from edge.bundles.manifest import ImageSet, ModelName, Precision
from edge.inference.base import Array
from edge.inference.onnx import OnnxRunner
from edge.kernels.lab_merge import lab_merge_bgr
from edge.types import Float32Array, UInt8Array
from edge.vision.networks import Networks
from training.judging.judge import judge_colours, judge_detector, photographs
from training.metrics.truth import Truth, read_truth

MAIN_ANIMALS = ("dog", "cat", "sheep", "horse", "cow")
SIDE_PX = 256  # a picture's colours are looked at in this size
VISIBLE = 16  # levels of luma, of 255, that a frame spans in which something can be seen
MOST_CHROMA = 128  # CIELAB a and b of sRGB's colours lie within -108..98
FLAT = 2  # levels that each channel of a picture spans at most which is of one colour
OUTPUTS: dict[str, ModelName] = {"context": "context", "ab": "colorizer"}  # of the two that make one picture

Mix = Mapping[ModelName, Precision]


class UselessError(Exception):
    """What networks compute is no result at all: one sentence, and the network where that is certain."""

    def __init__(self, reason: str, model: ModelName | None = None) -> None:
        super().__init__(reason)
        self.model = model


@dataclass(frozen=True)
class Subjects:
    """What accuracy is measured on; each part may be absent.

    Attributes:
        colour: colour photographs.
        truth: boxes, of images in the folder `images`; `annotations` is the file that they were read from.
    """

    colour: Sequence[Path] = ()
    annotations: Path | None = None
    images: Path | None = None
    truth: Truth | None = None

    @classmethod
    def read(
        cls, colour: Sequence[Path], annotations: Path | None, images: Path | None, *, boxed_only: bool = False
    ) -> Subjects:
        """Read the annotations, where there are any; `boxed_only` leaves out images in which people boxed nothing.

        Raises:
            InputError: they cannot be read.
        """
        if annotations is None:
            return cls(colour)
        truth = read_truth(annotations)
        return cls(colour, annotations, images, truth.boxed() if boxed_only else truth)

    def boxed_images(self) -> list[Path]:
        """The files that boxes are judged on."""
        if self.truth is None or self.images is None:
            return []
        return [self.images / image.file_name for image in self.truth.images]

    def set_of(self, model: ModelName) -> ImageSet | None:
        """The identity of what a network is judged on: for the recognizer its annotations count as a file too."""
        if model == "recognizer":
            return _image_set(self.boxed_images(), first=self.annotations)
        return _image_set(self.colour)


class WatchedRunner(OnnxRunner):
    """Runs a network, and does not let NaN or infinity pass."""

    def _run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        results = super()._run(arrays)
        for name, result in results.items():
            if not np.isfinite(result).all():
                raise UselessError(f"its output {name} is not finite: NaN or infinity", OUTPUTS.get(name))
        return results


def in_precisions(bundle: Bundle, mix: Mix) -> Bundle:
    """The bundle with other choices for some networks; refused ones too, since they are measured here."""
    models = {
        model: entry.model_copy(update={"chosen": mix.get(model, entry.chosen)})
        for model, entry in bundle.manifest.models.items()
    }
    return Bundle(bundle.folder, bundle.manifest.model_copy(update={"models": models}), "auto", allow_refused=True)


def colour_figures(bundle: Bundle, mix: Mix, images: Sequence[Path]) -> dict[str, float]:
    """Mean scores of coloured photographs beside the grey copy's own: see `training.judging.judge.ColourReport`.

    Raises:
        InputError: no image is usable; broken ones are reported and skipped.
        UselessError: NaN, infinity, chroma beyond all colours, or a picture that is black or of one colour where the
            frame shows something.
    """
    with Networks(in_precisions(bundle, mix), runner=WatchedRunner) as networks:

        def colorize(luma: UInt8Array) -> Float32Array:
            ab = networks.colour(luma, networks.context(luma))
            _check_colours(luma, ab)
            return ab

        return judge_colours(colorize, photographs(images)).mean


def detection_figures(bundle: Bundle, mix: Mix, truth: Truth, images: Path) -> dict[str, float]:
    """AP and AP50, over all labels and (`ap50_<label>`) of each; `ap50_animals`, the mean over MAIN_ANIMALS.

    Raises:
        InputError: the annotations do not fit the labels, or no image is usable.
        UselessError: NaN or infinity.
    """
    with Networks(in_precisions(bundle, mix), runner=WatchedRunner) as networks:
        report = judge_detector(networks.detect, networks.labels, truth, images)
    result = {"images": float(report.images), "ap": report.mean["ap"], "ap50": report.mean["ap50"]}
    result |= {f"ap50_{label}": scores.ap50 for label, scores in report.labels.items()}
    animals = [report.labels[label].ap50 for label in MAIN_ANIMALS if label in report.labels]
    if animals:
        result["ap50_animals"] = float(np.mean(animals))
    return result


def check_chroma(ab: Float32Array) -> None:
    """Look at chroma, CIELAB a and b of any shape.

    Raises:
        UselessError: half of it or more lies beyond every colour that a screen can show.
    """
    middle = float(np.median(np.abs(ab)))
    if middle > MOST_CHROMA:
        raise UselessError(f"its chroma lies beyond all colours: {middle:.3g} at the median, {MOST_CHROMA} at most")


def check_picture(luma: UInt8Array, picture: UInt8Array) -> None:
    """Look at the picture uint8[H, W, 3] that was made of luma uint8[H, W].

    Raises:
        UselessError: something can be seen in the luma, but the picture is black or of one colour.
    """
    if np.ptp(luma) < VISIBLE or np.ptp(picture.reshape(-1, 3), axis=0).max() > FLAT:
        return
    colour = "black" if picture.max() <= VISIBLE else "of one colour"
    raise UselessError(f"its picture is {colour} where the frame shows something")


def _check_colours(luma: UInt8Array, ab: Float32Array) -> None:
    check_chroma(ab)
    small = np.asarray(cv2.resize(luma, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA), np.uint8)
    check_picture(small, lab_merge_bgr(small, ab))  # merged as the service merges


def _image_set(files: Sequence[Path], *, first: Path | None = None) -> ImageSet | None:
    """Number and content hash; a file that cannot be read counts as empty, and is told when it is judged."""
    if not files:
        return None
    digest = hashlib.sha256()
    for file in [first, *files] if first else files:
        digest.update(file.read_bytes() if file.is_file() else b"")
    return ImageSet(images=len(files), sha256=digest.hexdigest())
