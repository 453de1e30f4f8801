"""Judges of anything that colours or detects, given as a function: a checkpoint's network and a bundle's alike.

What is measured is what runs: frames are read as the service reads them, and colour is merged as it merges it. Broken
files are reported and skipped; when none is usable, that is an error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from tqdm import tqdm

from edge.errors import InputError
from edge.kernels.lab_merge import lab_merge_bgr
from edge.media import IMAGE_SUFFIXES, read_still
from edge.types import Detections, Float32Array, UInt8Array
from training.data.images import read_rgb
from training.metrics.colour import colour_metrics, colourfulness, mean_of, small
from training.metrics.confusion import Confusion, confusion
from training.metrics.detection import LabelScores, by_supercategory, mean_scores, score_labels
from training.metrics.truth import TrueImage, Truth

Colorizer = Callable[[UInt8Array], Float32Array]
"""luma uint8[H, W] -> ab float32[2, h, w], CIELAB."""
Detector = Callable[[UInt8Array], Detections]
"""luma uint8[H, W] -> what is in it; labels index into the detector's list."""

TOLD = 3  # files that cannot be used, by name; the others by their number
SAMPLE_PX = 320  # long side of a picture that is kept to look at
T = TypeVar("T")
R = TypeVar("R")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Subject:
    """What a colorizer is tried on: the file its luma is read from and that of the true colours, often the same."""

    luma: Path
    truth: Path


@dataclass(frozen=True)
class Sample:
    """A judged picture to look at: luma uint8[H, W], result and truth uint8[H, W, 3] RGB, at most SAMPLE_PX long."""

    file: str
    luma: UInt8Array
    result: UInt8Array
    truth: UInt8Array
    scores: dict[str, float]


@dataclass(frozen=True)
class ColourReport:
    """The scores of each file and their mean; `skipped` could not be read.

    Scores are those of `colour_metrics`; `grey_mssim`, `grey_psnr_db`, `grey_ciede2000`, what the grey copy reaches;
    `truth_colourfulness`.
    """

    rows: list[tuple[str, dict[str, float]]]
    mean: dict[str, float]
    skipped: list[str]
    samples: list[Sample]


def photographs(files: Sequence[Path]) -> list[Subject]:
    """Colour photographs: their own luma goes in."""
    return [Subject(file, file) for file in files]


def nir_pairs(folder: Path) -> list[Subject]:
    """Real pairs of near infrared and colour, `X_nir.*` and `X_rgb.*`: NIR goes in, RGB is the truth.

    Raises:
        InputError: no such folder, a file without its other half, or no pair at all.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    halves: dict[str, dict[str, Path]] = {"nir": {}, "rgb": {}}
    for file in sorted(folder.iterdir()):
        stem, _, kind = file.stem.rpartition("_")
        if kind in halves and file.suffix.lower() in IMAGE_SUFFIXES:
            halves[kind][stem] = file
    nir, rgb = halves["nir"], halves["rgb"]
    for stem in sorted(nir.keys() ^ rgb.keys()):
        there, missing = (nir[stem], "rgb") if stem in nir else (rgb[stem], "nir")
        raise InputError(f"{there}: a pair without its other half: there is no {stem}_{missing}.* beside it")
    if not nir:
        raise InputError(f"{folder}: no pair X_nir.*, X_rgb.* in it")
    return [Subject(nir[stem], rgb[stem]) for stem in nir]


def judge_colours(colorize: Colorizer, subjects: Sequence[Subject], *, samples: int = 0) -> ColourReport:
    """Colour the subjects and compare with the truth, beside the grey copy; keep some to look at, evenly spread.

    Raises:
        InputError: no subject is usable.
    """
    count = min(samples, len(subjects))
    shown = {subjects[i * len(subjects) // count].luma for i in range(count)}

    def judge(subject: Subject) -> tuple[dict[str, float], Sample | None]:
        luma, truth = read_still(subject.luma), read_rgb(subject.truth)
        if luma.shape != truth.shape[:2]:
            raise InputError(f"{subject.luma}: {_size(luma)} pixels, but {subject.truth.name} has {_size(truth)}")
        result = coloured(luma, colorize(luma))
        scores = _beside_grey(luma, result, truth)
        return scores, _sample(subject, luma, result, truth, scores) if subject.luma in shown else None

    judged, skipped = _of_usable(subjects, judge, lambda subject: subject.luma)
    rows = [(subject.luma.name, scores) for subject, (scores, _) in judged]
    kept = [sample for _, (_, sample) in judged if sample is not None]
    return ColourReport(rows, mean_of([scores for _, scores in rows]), skipped, kept)


def coloured(luma: UInt8Array, ab: Float32Array) -> UInt8Array:
    """uint8[H, W, 3] RGB of luma uint8[H, W] and ab float32[2, h, w], merged as the service does."""
    return np.asarray(cv2.cvtColor(lab_merge_bgr(luma, ab), cv2.COLOR_BGR2RGB), np.uint8)


def grey_copy(luma: UInt8Array) -> UInt8Array:
    """uint8[H, W, 3]: the picture without colour, the least that a colorizer must beat."""
    return np.repeat(luma[..., None], 3, axis=2)


@dataclass(frozen=True)
class DetectionReport:
    """Scores by label, their means by supercategory and over all labels, and the confusion matrix, over `images`.

    `skipped` could not be read. `unknown` are labels of the data that the detector does not have: no mean has them.
    """

    images: int
    labels: dict[str, LabelScores]
    supercategories: dict[str, dict[str, float]]
    mean: dict[str, float]
    confusion: Confusion
    skipped: list[str]
    unknown: list[str]


def judge_detector(
    detect: Detector, labels: Sequence[str], truth: Truth, images: Path, *, min_score: float = 0.5
) -> DetectionReport:
    """Detect in all images of the truth and compare.

    Args:
        labels: the detector's.
        images: the folder that the truth's file names start from.
        min_score: from which on a detection counts in the confusion matrix.

    Raises:
        InputError: no such folder; detector and data have no label in common; no image is usable, or none holds an
            object.
    """
    if not images.is_dir():
        raise InputError(f"{images}: no such folder")
    common = [label for label in labels if label in truth.supercategories]
    unknown = [label for label in truth.supercategories if label not in labels]
    if not common:
        raise InputError(f"no label in common: the model has {', '.join(labels)}; the data {', '.join(unknown)}")
    if unknown:
        log.warning("labels of the data that the model does not have, not judged: %s", ", ".join(unknown))

    def look(image: TrueImage) -> Detections:
        return detect(read_still(images / image.file_name))

    judged, skipped = _of_usable(truth.images, look, lambda image: images / image.file_name)
    usable = replace(truth, images=tuple(image for image, _ in judged))
    found = [detections for _, detections in judged]
    scores = score_labels(usable, found, labels)
    if not scores:
        raise InputError(f"no image holds a boxed object of any label that the model has: {', '.join(common)}")
    matrix = confusion(usable, found, labels, common, min_score=min_score)
    groups = by_supercategory(scores, truth)
    return DetectionReport(len(found), scores, groups, mean_scores(scores.values()), matrix, skipped, unknown)


def _of_usable(
    items: Sequence[T], work: Callable[[T], R], file_of: Callable[[T], Path]
) -> tuple[list[tuple[T, R]], list[str]]:
    """What `work` makes of each item, and the names of those whose files it cannot use."""
    done: list[tuple[T, R]] = []
    skipped: list[str] = []
    for item in tqdm(items, unit="image", disable=None):
        try:
            done.append((item, work(item)))
        except InputError as error:
            if len(skipped) < TOLD:
                log.warning("%s, skipped", error)
            skipped.append(file_of(item).name)
    if len(skipped) > TOLD:
        log.warning("%d files more cannot be used, %d in all, skipped", len(skipped) - TOLD, len(skipped))
    if not done:
        raise InputError(f"none of the {len(items)} images can be used: the first is {file_of(items[0])}")
    return done, skipped


def _beside_grey(luma: UInt8Array, result: UInt8Array, truth: UInt8Array) -> dict[str, float]:
    grey = colour_metrics(grey_copy(luma), truth)
    beside = {f"grey_{name}": grey[name] for name in ("mssim", "psnr_db", "ciede2000")}
    return colour_metrics(result, truth) | beside | {"truth_colourfulness": colourfulness(small(truth))}


def _sample(
    subject: Subject, luma: UInt8Array, result: UInt8Array, truth: UInt8Array, scores: dict[str, float]
) -> Sample:
    return Sample(subject.luma.name, _fitting(luma), _fitting(result), _fitting(truth), scores)


def _fitting(image: UInt8Array) -> UInt8Array:
    ratio = min(1.0, SAMPLE_PX / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * ratio)), max(1, round(image.shape[0] * ratio)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _size(image: UInt8Array) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
