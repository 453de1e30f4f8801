"""How well a detector finds what is there: COCO's measures, by label and supercategory.

Every image judges only the labels that it has boxed completely (`TrueImage.labelled`): finding something else in it
is neither right nor wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.types import Detections, Float32Array
from training.metrics.truth import TrueImage, Truth

MEASURES = ("ap", "ap50", "recall", "recall50")
RECALLS = np.linspace(0, 1, 101)  # at which COCO reads the precision
Curve = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LabelScores:
    """One label's scores (all in 0..1) over `images` images that hold `boxes` objects of it.

    ap: COCO's average precision, mean over IoU 0.5, 0.55 .. 0.95; ap50: at IoU 0.5. recall: share found among at
    most 100 detections an image, mean over the same IoUs; recall50: at IoU 0.5. precision float64[101]: at IoU 0.5,
    by recall 0, 0.01 .. 1; thresholds float64[101]: the scores that give those points, 0 where none does.
    """

    ap: float
    ap50: float
    recall: float
    recall50: float
    images: int
    boxes: int
    precision: Curve
    thresholds: Curve


def score_labels(truth: Truth, found: Sequence[Detections], labels: Sequence[str]) -> dict[str, LabelScores]:
    """Scores of each label that some image judges and of which it holds an object, not a crowd alone.

    Args:
        found: the detections in each of the truth's images, in their order; their labels index into `labels`.
        labels: the detector's; what the truth does not know is left out.
    """
    scores = {}
    for index, label in enumerate(labels):
        judged = [(i, d) for i, d in zip(truth.images, found, strict=True) if label in i.labelled]
        truths = [_boxes_of(image, label) for image, _ in judged]
        if any((~crowd).any() for _, crowd in truths):
            scores[label] = _score(label, truths, _of(index, judged))
    return scores


def mean_scores(scores: Iterable[LabelScores]) -> dict[str, float]:
    """Mean of each measure over labels, each label counting the same."""
    rows = list(scores)
    return {name: float(np.mean([getattr(row, name) for row in rows])) for name in MEASURES}


def by_supercategory(scores: Mapping[str, LabelScores], truth: Truth) -> dict[str, dict[str, float]]:
    """`mean_scores` of each supercategory's labels; labels without one are left out."""
    groups: dict[str, list[LabelScores]] = {}
    for label, score in scores.items():
        if group := truth.supercategories.get(label):
            groups.setdefault(group, []).append(score)
    return {group: mean_scores(rows) for group, rows in groups.items()}


_Boxes = tuple[Float32Array, npt.NDArray[Any]]  # boxes [N, 4] xyxy, and whether each is a crowd, or its score


def _boxes_of(image: TrueImage, label: str) -> _Boxes:
    mine = np.array([name == label for name in image.labels], np.bool_)
    return image.boxes[mine], image.crowd[mine]


def _of(index: int, judged: Sequence[tuple[TrueImage, Detections]]) -> list[_Boxes]:
    return [(d.boxes[d.labels == index], d.scores[d.labels == index]) for _, d in judged]


def _score(label: str, truths: Sequence[_Boxes], answers: Sequence[_Boxes]) -> LabelScores:
    from faster_coco_eval import COCO, COCOeval_faster  # slow to import

    images = [{"id": i} for i in range(len(truths))]
    categories = [{"id": 1, "name": label}]
    documents = [
        {"images": images, "categories": categories, "annotations": _annotations(boxes, key)}
        for boxes, key in ((truths, "iscrowd"), (answers, "score"))
    ]
    evaluation = COCOeval_faster(COCO(documents[0]), COCO(documents[1]), "bbox", print_function=_mute)
    evaluation.evaluate()
    evaluation.accumulate()
    # [IoU, recall, label, area, detections]: all areas, 100 detections
    precision = evaluation.eval["precision"][:, :, 0, 0, 2]
    recall = evaluation.eval["recall"][:, 0, 0, 2]
    return LabelScores(
        ap=float(precision.mean()),
        ap50=float(precision[0].mean()),
        recall=float(recall.mean()),
        recall50=float(recall[0]),
        images=len(truths),
        boxes=sum(int((~crowd).sum()) for _, crowd in truths),
        precision=np.asarray(precision[0], np.float64),
        thresholds=np.asarray(evaluation.eval["scores"][0, :, 0, 0, 2], np.float64),
    )


def _mute(_message: object) -> None:
    """Instead of a log of the evaluation's steps, label by label."""


def _annotations(of_images: Sequence[_Boxes], key: str) -> list[dict[str, Any]]:
    """COCO's annotations, numbered from 1: it takes 0 for "none"."""
    annotations: list[dict[str, Any]] = []
    for image, (boxes, values) in enumerate(of_images):
        for (left, top, right, bottom), value in zip(boxes.tolist(), values.tolist(), strict=True):
            width, height = right - left, bottom - top
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": 1,
                    "bbox": [left, top, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                    key: float(value) if key == "score" else int(value),
                }
            )
    return annotations
