"""How far a network of lower precision is from FP32, in what its user would notice, on a handful of frames.

Context and colorizer are judged by the colours in the picture, the recognizer by its objects. No labels are needed:
the FP32 network's answers are the truth here. What precision costs in accuracy, `tapetum-build evaluate` measures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from edge.bundles.manifest import ModelName
from edge.media import read_still
from edge.types import Float32Array
from trt_build.graphs import graph_path, network_input, preprocessing_of, session
from trt_build.precision.inputs import feeds
from trt_build.verification.ciede2000 import ciede2000
from trt_build.verification.matching import iou

Answer = Mapping[str, npt.NDArray[Any]]
UNITS: Final[dict[ModelName, str]] = {
    "context": "mean CIEDE2000 of the colours",
    "colorizer": "mean CIEDE2000 of the colours",
    "recognizer": "share of the objects",
}
MIN_SCORE = 0.05
MIN_IOU = 0.5


class Judge:
    """A network's FP32 answers on some frames, to compare others with."""

    def __init__(self, folder: Path, name: ModelName, frames: Sequence[Path]) -> None:
        """Run the FP32 graph of a folder on the frames.

        Raises:
            InputError: a graph is missing (a context needs the colorizer's too), or a frame is broken.
        """
        self._name = name
        self._feeds = list(feeds(folder, name, frames))
        self._colorizer = None
        if name == "context":  # it is judged by what the colorizer makes of it
            self._colorizer = session(graph_path(folder, "colorizer", "fp32"))
            size = self._colorizer.get_inputs()[0].shape[2:]
            how = preprocessing_of("colorizer")
            self._lumas = [network_input(how, read_still(frame), size) for frame in frames]
        else:
            self._lumas = [next(iter(feed.values())) for feed in self._feeds]
        self._truth = self._answers(session(graph_path(folder, name, "fp32")))

    def damage(self, model: onnx.ModelProto | Path) -> float:
        """Mean distance of a graph's answers from FP32's, 0 for none; infinite where an answer is not finite."""
        answers = self._answers(session(model))
        if not all(np.isfinite(values).all() for answer in answers for values in answer.values()):
            return float("inf")
        return float(np.mean([self._distance(*each) for each in zip(self._lumas, self._truth, answers, strict=True)]))

    def _answers(self, network: onnxruntime.InferenceSession) -> list[Answer]:
        names = [output.name for output in network.get_outputs()]
        answers: list[Answer] = [
            dict(zip(names, network.run(names, dict(feed)), strict=True)) for feed in self._feeds
        ]
        if self._colorizer is None:
            return answers
        pairs = zip(self._lumas, answers, strict=True)
        return [{"ab": self._colorizer.run(["ab"], {"luma": luma, **answer})[0]} for luma, answer in pairs]

    def _distance(self, luma: Float32Array, truth: Answer, answer: Answer) -> float:
        if self._name == "recognizer":
            return objects_apart(truth, answer)
        return colours_apart(luma[0, 0], truth["ab"][0], answer["ab"][0])


def colours_apart(luma: Float32Array, ab: Float32Array, other_ab: Float32Array) -> float:
    """Mean CIEDE2000 of a frame in two chromas [2, h, w], at their size; luma [H, W] in 0..1."""
    grey = cv2.resize(luma, ab.shape[:0:-1], interpolation=cv2.INTER_AREA)
    lightness = cv2.cvtColor(cv2.merge([grey] * 3), cv2.COLOR_BGR2LAB)[..., 0]
    one, other = (np.stack([lightness, *chroma], axis=-1) for chroma in (ab, other_ab))
    return float(ciede2000(one, other).mean())


def objects_apart(truth: Answer, answer: Answer) -> float:
    """0 where two recognizers find the same, 1 where they have nothing in common.

    One minus the Dice coefficient, in which an object counts with its score, and a pair of the same label with the
    lower of its two scores times the IoU. So a box that is a little off, or a score that is a little lower, counts a
    little, and what comes and goes near the lowest score hardly at all.
    """
    boxes, scores, labels = _objects(truth)
    other_boxes, other_scores, other_labels = _objects(answer)
    total = float(scores.sum() + other_scores.sum())
    overlap = iou(boxes, other_boxes) * (labels[:, None] == other_labels)
    common = np.where(overlap >= MIN_IOU, overlap, 0) * np.minimum(scores[:, None], other_scores)
    shared = 0.0
    while common.size and common.max() > 0:  # the best pair first, each object once
        i, j = np.unravel_index(common.argmax(), common.shape)
        shared += float(common[i, j])
        common[i], common[:, j] = 0, 0
    return 1 - 2 * shared / total if total else 0.0


def _objects(answer: Answer) -> tuple[npt.NDArray[Any], ...]:
    kept = answer["scores"][0] >= MIN_SCORE
    return tuple(answer[name][0][kept] for name in ("boxes", "scores", "labels"))
