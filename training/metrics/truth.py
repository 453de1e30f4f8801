"""What a detector is judged by: COCO annotations, with what each image says about its own completeness."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge.errors import InputError
from edge.types import Float32Array
from training.data.coco import Annotation, Image, read_coco


@dataclass(frozen=True)
class TrueImage:
    """One image: boxes float32[N, 4] xyxy in its pixels, their labels, and whether each box is a crowd.

    `labelled` names the labels whose objects are all boxed here. Objects of others may be there without a box, so
    the image says nothing about those labels.
    """

    file_name: str
    boxes: Float32Array
    labels: tuple[str, ...]
    crowd: npt.NDArray[np.bool_]
    labelled: frozenset[str]


@dataclass(frozen=True)
class Truth:
    """Images, and the supercategory of each label ("" where the file names none)."""

    images: tuple[TrueImage, ...]
    supercategories: dict[str, str]

    def only(self, names: Collection[str]) -> Truth:
        """Without the images whose file name (its last part) is not among the names.

        Raises:
            InputError: none is left.
        """
        images = tuple(image for image in self.images if Path(image.file_name).name in names)
        if not images:
            raise InputError("none of the annotated images is in the list: give a list of this data set's files")
        return replace(self, images=images)

    def boxed(self) -> Truth:
        """Without the images in which people boxed nothing: some data sets list such as complete that are not.

        Raises:
            InputError: none is left.
        """
        images = tuple(image for image in self.images if len(image.boxes))
        if not images:
            raise InputError("people boxed nothing in any of the images: there is nothing to judge by")
        return replace(self, images=images)


def read_truth(path: Path) -> Truth:
    """Read COCO detection JSON. Pseudo-labels (`"source": "model"`) are left out: they are no truth.

    Raises:
        InputError: it cannot be read, or is not COCO detection JSON.
    """
    document = read_coco(path)
    names = {category.id: category.name for category in document.categories}
    boxed: dict[int, list[Annotation]] = {image.id: [] for image in document.images}
    for annotation in document.annotations:
        if annotation.source != "model" and annotation.has_area:
            boxed[annotation.image_id].append(annotation)
    images = tuple(_image(image, boxed[image.id], names) for image in document.images)
    return Truth(images, {category.name: category.supercategory for category in document.categories})


def _image(image: Image, annotations: Sequence[Annotation], names: dict[int, str]) -> TrueImage:
    xywh = np.array([annotation.bbox for annotation in annotations], np.float32).reshape(-1, 4)
    return TrueImage(
        file_name=image.file_name,
        boxes=np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1),
        labels=tuple(names[annotation.category_id] for annotation in annotations),
        crowd=np.array([annotation.iscrowd for annotation in annotations], np.bool_),
        labelled=frozenset(names.values() if image.labelled is None else image.labelled),
    )
