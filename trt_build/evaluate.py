"""Accuracy of a bundle's networks, through the runtime that ships: what is measured is what runs.

The judges are training's, and know no network; with export and quantize this is the only use of `training` here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge.networks import Networks
from training.judging.judge import judge_colours, judge_detector, photographs
from training.metrics.truth import read_truth

MAIN_ANIMALS = ("dog", "cat", "sheep", "horse", "cow")


def evaluate_colour(networks: Networks, images: Sequence[Path]) -> dict[str, float]:
    """Mean scores of coloured photographs beside the grey copy's own: see `training.judging.judge.ColourReport`.

    Raises:
        InputError: no image is usable; broken ones are reported and skipped.
    """
    return judge_colours(lambda luma: networks.colour(luma, networks.context(luma)), photographs(images)).mean


def evaluate_detection(
    networks: Networks, annotations: Path, images: Path, *, boxed_only: bool = False
) -> dict[str, float]:
    """AP and AP50, over all labels and (`ap50_<label>`) of each; `ap50_animals`, the mean over MAIN_ANIMALS.

    Args:
        boxed_only: leave out images in which people boxed nothing.

    Raises:
        InputError: the annotations cannot be read or do not fit the labels, or no image is usable.
    """
    truth = read_truth(annotations)
    report = judge_detector(networks.detect, networks.labels, truth.boxed() if boxed_only else truth, images)
    result = {"images": float(report.images), "ap": report.mean["ap"], "ap50": report.mean["ap50"]}
    result |= {f"ap50_{label}": scores.ap50 for label, scores in report.labels.items()}
    animals = [report.labels[label].ap50 for label in MAIN_ANIMALS if label in report.labels]
    if animals:
        result["ap50_animals"] = float(np.mean(animals))
    return result
