"""Made-up scenes for a recognizer's stages: a picture of some objects, and scores that see exactly these.

Scores never tie, for where they do TopK is free to take either, and all that follows would differ.
"""

from __future__ import annotations

import math

import numpy as np

from edge.types import Float32Array
from trt_build.verification.matching import iou

# Logits of objectness by rank: far enough apart, also after the sigmoid, for the 1000 that become proposals.
_RANKS, _FALLS = (0, 1000, 1_000_000), (0.0, -3.0, -6.0)
_SEEN, _UNSEEN = 3.0, -5.0  # the best rank's, where there are objects and where there are none


def objects_of(count: int, height: int, width: int) -> Float32Array:
    """Boxes float32[count, 4], xyxy in pixels, in a grid over the picture; none touches another."""
    columns = math.ceil(math.sqrt(count * width / height)) or 1
    rows = math.ceil(count / columns) or 1
    cell = np.array([width / columns, height / rows])
    corners = np.array([divmod(i, columns)[::-1] for i in range(count)], np.float64).reshape(-1, 2) * cell
    return np.concatenate([corners + 0.2 * cell, corners + 0.8 * cell], axis=1).astype(np.float32)


def draw(objects: Float32Array, height: int, width: int) -> Float32Array:
    """A night: the objects bright on dark noise, float32[1, 1, height, width] in 0..1."""
    picture = np.random.default_rng(0).normal(0.1, 0.03, (height, width))
    for left, top, right, bottom in objects.astype(int):
        picture[top : bottom + 1, left : right + 1] += 0.6
    return picture.clip(0, 1).astype(np.float32)[None, None]


def objectness_of(objects: Float32Array, anchors: Float32Array) -> Float32Array:
    """Logits float32[1, A]: an anchor's is the higher, the better it covers an object; no two are the same."""
    covers = np.random.default_rng(1).uniform(0, 0.1, len(anchors))
    covers = np.maximum(covers, iou(anchors, objects).max(axis=1, initial=0))
    order = np.argsort(-covers, kind="stable")
    logits = np.empty((1, len(anchors)), np.float32)
    best = _SEEN if len(objects) else _UNSEEN
    logits[0, order] = best + np.interp(np.arange(len(anchors)), _RANKS, _FALLS)
    return logits


def regions_of(objects: Float32Array, count: int, height: int, width: int) -> Float32Array:
    """Proposals float32[1, count, 4]: the objects, as many of them as fit again a little aside, then background."""
    aside = objects + 0.05 * np.tile(objects[:, 2:] - objects[:, :2], 2)
    rng = np.random.default_rng(2)
    corners = np.sort(rng.uniform(0, 1, (count, 2, 2)), axis=1) * (width, height)
    regions = np.concatenate([objects, aside, corners.reshape(-1, 4)])[:count]
    return regions.astype(np.float32)[None]


def class_logits_of(objects: int, count: int, labels: int) -> Float32Array:
    """Logits float32[1, count, labels + 1] of `regions_of`: labels in turn, a second answer less sure than the first.

    Background, the last label, is what all other regions are.
    """
    logits = np.random.default_rng(3).uniform(-6, -4, (1, count, labels + 1)).astype(np.float32)
    logits[..., -1] = 6.0
    sure = np.linspace(4, 0, objects)
    for first, values in ((0, sure), (objects, (sure - 0.5)[: count - objects])):
        index = first + np.arange(len(values))
        logits[0, index, (index - first) % labels] = values
        logits[0, index, -1] = 0.0
    return logits


def deltas_of(count: int, numbers: int) -> Float32Array:
    """Refinements float32[1, count, numbers] that move a box by about a hundredth of its size."""
    return np.random.default_rng(4).normal(0, 0.1, (1, count, numbers)).astype(np.float32)
