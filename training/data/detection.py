"""COCO-format detection data in which every image says which categories are fully boxed.

`labelled` lists the categories of an image whose objects all have boxes; objects of other categories may be present
and unboxed, so the second stage's loss punishes finding them little (the RPN knows no categories).
Annotations with `"source": "model"` are pseudo-labels: from the score `trust` up they weigh as much as their score,
below it they are only marked as "do not learn here".
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from edge.errors import InputError
from edge.types import Float32Array, Int64Array, UInt8Array
from training.data.coco import Annotation, Document, read_coco
from training.data.nir import luma_of, nir_like
from training.data.reading import Reader

log = logging.getLogger(__name__)

TRUST = 0.7
PAD = 128  # grey level around a letterboxed image; the bundle's preprocessing says the same


@dataclass
class Target:
    """What is known of one training image, in pixels of the network's input.

    boxes float32[N, 4] xyxy; labels int64[N]; weights float32[N], 0 for boxes that only say "ignore here";
    labelled bool[K], whether an unmatched place may count as "not of this class".
    """

    boxes: Tensor
    labels: Tensor
    weights: Tensor
    labelled: Tensor


@dataclass(frozen=True)
class Record:
    """One image of the data set as it stands in the JSON, boxes xyxy in its own pixels.

    weights float32[N] as in `Target`; human bool[N], whether people drew the box, around one object.
    """

    path: Path
    boxes: Float32Array
    labels: Int64Array
    weights: Float32Array
    human: npt.NDArray[np.bool_]
    labelled: frozenset[str]

    @property
    def is_boxed(self) -> bool:
        """Whether people boxed anything in it."""
        return bool(self.human.any())


class CocoDetection(Dataset[tuple[Tensor, Target]]):
    """Letterboxed, augmented luma float32[1, S, S] with its `Target`."""

    def __init__(
        self,
        annotations: Path,
        images: Path,
        input_size: int,
        *,
        nir: float = 0.5,
        seed: int = 0,
        trust: float = TRUST,
    ) -> None:
        """Read the annotations and find the images.

        Args:
            annotations: COCO detection JSON.
            images: the folder that its file names are relative to.
            input_size: side S of the network's input, in pixels.
            nir: share of the items that are rendered as near infrared, 0..1.
            trust: pseudo-labels are learnt from this score on; above 1 none is.

        Raises:
            InputError: the annotations cannot be used (see `read_coco`), none of the images is there, or none of
                the boxes can be learnt from.
        """
        if not images.is_dir():
            raise InputError(f"{images}: no such folder")
        document = read_coco(annotations)
        self.labels = [category.name for category in document.categories]
        self.records = _records(document, images, trust)
        if not self.records:
            raise InputError(f"{annotations}: none of its images is in {images}")
        _tell_flaws(annotations, document, images, self.records)
        if not any((record.weights > 0).any() for record in self.records):
            raise InputError(f"{annotations}: no box to learn from among its {len(document.annotations)} annotations")
        self.input_size, self.nir, self.seed, self.epoch = input_size, nir, seed, 0
        self._reader = Reader([record.path for record in self.records])

    def keep(self, files: Collection[Path]) -> None:
        """Forget the images that are not among `files`.

        Raises:
            InputError: none is left.
        """
        wanted = set(files)
        self.records = [record for record in self.records if record.path in wanted]
        if not self.records:
            raise InputError("no image is left to learn from: all are held out, like ones that are, or broken")
        self._reader = Reader([record.path for record in self.records])

    def draws(self, repeats: Mapping[str, float]) -> Tensor:
        """How often each image is to be drawn, float64[N]: the largest of the repeats of the labels boxed in it.

        Raises:
            InputError: a label that the data set does not have.
        """
        unknown = set(repeats) - set(self.labels)
        if unknown:
            raise InputError(f"no label {min(unknown)!r} in the data: it has {', '.join(self.labels)}")
        of_label = np.array([repeats.get(name, 1.0) for name in self.labels])
        sure = [of_label[record.labels[record.human]] for record in self.records]
        return torch.tensor([max(factors, default=1.0) for factors in sure], dtype=torch.float64)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        rng = np.random.default_rng((self.seed, self.epoch, index))
        usable, rgb = self._reader.read(index)
        record = self.records[usable]
        luma = nir_like(rgb, rng) if rng.random() < self.nir else luma_of(rgb)
        matrix = random_placement(luma.shape[1], luma.shape[0], self.input_size, rng)
        luma = warp(luma, matrix, self.input_size)
        boxes, visible = warp_boxes(record.boxes, matrix, self.input_size)
        target = Target(
            torch.from_numpy(boxes[visible > 0.1]),
            torch.from_numpy(record.labels[visible > 0.1]),
            # a box that is mostly cut away is neither an object nor background
            torch.from_numpy((record.weights * (visible > 0.35))[visible > 0.1]),
            torch.tensor([name in record.labelled for name in self.labels]),
        )
        return torch.from_numpy(luma).float().div_(255.0)[None], target


def random_placement(width: int, height: int, size: int, rng: np.random.Generator) -> Float32Array:
    """Affine matrix float32[2, 3]: letterbox at a random scale (0.6 to 1.5), place and mirror image."""
    scale = size / max(width, height) * float(np.exp(rng.uniform(np.log(0.6), np.log(1.5))))
    stretch = float(np.exp(rng.uniform(-0.15, 0.15)))
    scale_x, scale_y = scale * stretch, scale / stretch
    left = rng.uniform(min(0.0, size - width * scale_x), max(0.0, size - width * scale_x))
    top = rng.uniform(min(0.0, size - height * scale_y), max(0.0, size - height * scale_y))
    if rng.random() < 0.5:
        return np.array([[-scale_x, 0, left + width * scale_x], [0, scale_y, top]], np.float32)
    return np.array([[scale_x, 0, left], [0, scale_y, top]], np.float32)


def warp(luma: UInt8Array, matrix: Float32Array, size: int) -> UInt8Array:
    """uint8[S, S]: the image under the matrix, grey where it does not reach."""
    shrink = abs(float(matrix[1, 1]))
    if shrink < 0.7:  # bilinear sampling alone would alias
        luma = np.asarray(cv2.GaussianBlur(luma, (0, 0), 0.35 / shrink), np.uint8)
    warped = cv2.warpAffine(luma, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=PAD)
    return np.asarray(warped, np.uint8)


def warp_boxes(boxes: Float32Array, matrix: Float32Array, size: int) -> tuple[Float32Array, Float32Array]:
    """Boxes [N, 4] under the matrix, clipped to the input, and the share [N] of each that is still visible."""
    x = np.sort(boxes[:, 0::2] * matrix[0, 0] + matrix[0, 2], axis=1)
    y = boxes[:, 1::2] * matrix[1, 1] + matrix[1, 2]
    moved = np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1)
    clipped = moved.clip(0, size).astype(np.float32)
    return clipped, (_areas(clipped) / np.maximum(_areas(moved), 1e-6)).astype(np.float32)


def collate(items: list[tuple[Tensor, Target]]) -> tuple[Tensor, list[Target]]:
    """Stack the images; the targets stay a list."""
    return torch.stack([image for image, _ in items]), [target for _, target in items]


def _areas(boxes: Float32Array) -> Float32Array:
    size = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return np.asarray(size[:, 0] * size[:, 1], np.float32)


def _records(document: Document, images: Path, trust: float) -> list[Record]:
    """The images that are there, each with its boxes; boxes without area, or outside it, are left out."""
    of_image: dict[int, list[Annotation]] = {image.id: [] for image in document.images}
    for annotation in document.annotations:
        of_image[annotation.image_id].append(annotation)
    index_of = {category.id: index for index, category in enumerate(document.categories)}
    everything = [category.name for category in document.categories]
    records = []
    for image in document.images:
        found = [a for a in of_image[image.id] if a.has_area and a.is_within(image)]
        xywh = np.array([a.bbox for a in found], np.float32).reshape(-1, 4)
        records.append(
            Record(
                images / image.file_name,
                np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1),
                np.array([index_of[a.category_id] for a in found], np.int64),
                np.array([_weight(a, trust) for a in found], np.float32),
                np.array([a.by_people and not a.iscrowd for a in found], np.bool_),
                frozenset(everything if image.labelled is None else image.labelled),
            )
        )
    return [record for record in records if record.path.is_file()]


def _weight(annotation: Annotation, trust: float) -> float:
    if annotation.iscrowd:
        return 0.0  # several objects in one box: neither an object nor background
    if annotation.by_people:
        return 1.0
    score = annotation.score or 0.0
    return score if score >= trust else 0.0


def _tell_flaws(annotations: Path, document: Document, images: Path, records: Sequence[Record]) -> None:
    if missing := len(document.images) - len(records):
        there = {record.path for record in records}
        first = next(image.file_name for image in document.images if images / image.file_name not in there)
        log.warning(
            "%s: %d of %d images are not in %s, skipped: first %s",
            annotations,
            missing,
            len(document.images),
            images,
            first,
        )
    count = len(document.annotations)
    if flat := sum(not annotation.has_area for annotation in document.annotations):
        log.warning("%s: %d of %d boxes have no area, skipped", annotations, flat, count)
    of_id = {image.id: image for image in document.images}
    if outside := sum(a.has_area and not a.is_within(of_id[a.image_id]) for a in document.annotations):
        log.warning("%s: %d of %d boxes lie outside their image, skipped", annotations, outside, count)
