"""Accuracy of a bundle's networks, through the runtime that ships: what is measured is what runs.

Metrics come from training/metrics.py, which knows no network; with export this is the only use of `training` here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from edge.errors import InputError
from edge.kernels.lab_merge import lab_merge_bgr
from edge.media import read_still
from edge.networks import Networks
from edge.types import UInt8Array
from training.metrics import average_precision, colour_metrics, mean_of
from trt_build.graphs import list_images

MAIN_ANIMALS = ("dog", "cat", "sheep", "horse", "cow")


def evaluate_colour(networks: Networks, images: Sequence[Path]) -> dict[str, float]:
    """PSNR, CIEDE2000 and colourfulness of the coloured luma of colour photographs, beside the grey copy's own.

    Returns:
        psnr_db, ciede2000, colourfulness, grey_psnr_db, grey_ciede2000: means over the images.
    """
    rows = []
    for path in tqdm(images, desc="colour", unit="image", disable=None):
        luma, truth = read_still(path), _read_rgb(path)
        ab = networks.colour(luma, networks.context(luma))
        result = np.asarray(cv2.cvtColor(lab_merge_bgr(luma, ab), cv2.COLOR_BGR2RGB), np.uint8)
        grey = colour_metrics(_repeated(luma), truth)
        row = colour_metrics(result, truth)
        rows.append(row | {"grey_psnr_db": grey["psnr_db"], "grey_ciede2000": grey["ciede2000"]})
    return mean_of(rows)


def evaluate_detection(networks: Networks, annotations: Path, images: Path) -> dict[str, float]:
    """AP50 of each label and `ap50_animals`, their mean over dog, cat, sheep, horse and cow."""
    found = []
    for path in tqdm(list_images(images), desc="detection", unit="image", disable=None):
        detections = networks.detect(read_still(path))
        for box, label, score in zip(detections.boxes, detections.labels, detections.scores, strict=True):
            left, top, right, bottom = (float(v) for v in box)
            bbox = [left, top, right - left, bottom - top]
            found.append(
                {"file_name": path.name, "label": networks.labels[label], "bbox": bbox, "score": float(score)}
            )
    per_label = average_precision(annotations, found)
    result = {f"ap50_{name}": value for name, value in per_label.items()}
    animals = [per_label[name] for name in MAIN_ANIMALS if name in per_label]
    if animals:
        result["ap50_animals"] = float(np.mean(animals))
    return result


def _read_rgb(path: Path) -> UInt8Array:
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise InputError(f"{path}: not a readable image")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def _repeated(luma: UInt8Array) -> UInt8Array:
    return np.repeat(luma[..., None], 3, axis=2)
