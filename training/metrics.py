"""How good colours and boxes are. Pure numpy and its libraries: no network is known here."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from skimage.color import deltaE_ciede2000, rgb2lab

from edge.errors import InputError
from edge.types import UInt8Array

SIDE_PX = 256  # colour is judged at 256x256


def colour_metrics(result: UInt8Array, truth: UInt8Array) -> dict[str, float]:
    """PSNR in dB, mean CIEDE2000 and colourfulness of uint8[H, W, 3] RGB images, at 256x256.

    CIEDE2000: CIE 142-2001. Colourfulness: Hasler and Suesstrunk, "Measuring colourfulness in natural images", 2003.
    """
    a, b = (_small(image) for image in (result, truth))
    mse = float(np.mean((a.astype(np.float64) - b) ** 2))
    return {
        "psnr_db": 10 * float(np.log10(255.0**2 / max(mse, 1e-9))),
        "ciede2000": float(np.mean(deltaE_ciede2000(rgb2lab(a), rgb2lab(b)))),  # type: ignore[no-untyped-call]
        "colourfulness": colourfulness(a),
    }


def _small(rgb: UInt8Array) -> UInt8Array:
    return np.asarray(cv2.resize(rgb, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA), np.uint8)


def colourfulness(rgb: UInt8Array) -> float:
    """Hasler and Suesstrunk's M3 of uint8[H, W, 3] RGB: 0 is grey, 15 slightly, 33 moderately colourful."""
    red, green, blue = (rgb[..., i].astype(np.float64) for i in range(3))
    rg, yb = red - green, 0.5 * (red + green) - blue
    deviation = np.hypot(rg.std(), yb.std())
    return float(deviation + 0.3 * np.hypot(rg.mean(), yb.mean()))


def mean_of(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean of each metric over images."""
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def average_precision(annotations: Path, detections: Sequence[dict[str, Any]]) -> dict[str, float]:
    """AP at IoU 0.5 (COCO's) of each label, over the images in which that label's objects are all boxed.

    Args:
        annotations: COCO JSON; an image's `labelled` lists its fully boxed labels (absent: all).
        detections: dicts of file_name, label, bbox [x, y, w, h] in pixels, score.

    Raises:
        InputError: the annotations cannot be read.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    try:
        document = json.loads(annotations.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{annotations}: cannot read the annotations: {error}") from error
    image_ids = {image["file_name"]: image["id"] for image in document["images"]}
    category_ids = {category["name"]: category["id"] for category in document["categories"]}
    found = [
        {
            "image_id": image_ids[d["file_name"]],
            "category_id": category_ids[d["label"]],
            "bbox": d["bbox"],
            "score": d["score"],
        }
        for d in detections
        if d["file_name"] in image_ids and d["label"] in category_ids
    ]
    result = {}
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(document)
        answers = truth.loadRes(found) if found else COCO({**document, "annotations": []})
        for name, category_id in category_ids.items():
            judged = [i["id"] for i in document["images"] if name in i.get("labelled", category_ids)]
            if not any(
                a["category_id"] == category_id and a["image_id"] in set(judged) for a in document["annotations"]
            ):
                continue
            evaluation = COCOeval_faster(truth, answers, "bbox")
            evaluation.params.catIds, evaluation.params.imgIds = [category_id], judged
            evaluation.evaluate()
            evaluation.accumulate()
            precision = evaluation.eval["precision"][0, :, 0, 0, 2]  # IoU 0.5, all areas, 100 detections
            result[name] = float(precision[precision > -1].mean()) if (precision > -1).any() else 0.0
    return result
