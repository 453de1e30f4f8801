"""COCO detection JSON, read strictly: what does not fit together is said before anything is learnt from it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from edge.errors import InputError


class Category(BaseModel):
    """A label and the number that annotations know it by."""

    id: int
    name: Annotated[str, Field(min_length=1)]
    supercategory: str = ""


class Image(BaseModel):
    """`labelled` lists the categories whose objects are all boxed; None stands for every category.

    `width` and `height`, in pixels, may be left out.
    """

    id: int
    file_name: Annotated[str, Field(min_length=1)]
    labelled: list[str] | None = None
    width: FiniteFloat | None = None
    height: FiniteFloat | None = None


class Annotation(BaseModel):
    """One box (x, y, width, height in pixels); `source` "model" marks a pseudo-label of that `score`."""

    image_id: int
    category_id: int
    bbox: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]
    iscrowd: bool = False
    source: str | None = None
    score: Annotated[float, Field(ge=0, le=1)] | None = None

    @property
    def has_area(self) -> bool:
        return self.bbox[2] > 0 and self.bbox[3] > 0

    @property
    def by_people(self) -> bool:
        return self.source != "model"

    def is_within(self, image: Image) -> bool:
        """Whether any of it lies in the image, as far as the file tells its size."""
        x, y, width, height = self.bbox
        right = math.inf if image.width is None else image.width
        bottom = math.inf if image.height is None else image.height
        return x < right and y < bottom and x + width > 0 and y + height > 0


class Document(BaseModel):
    """The parts of the file that are used; others are passed over."""

    categories: Annotated[list[Category], Field(min_length=1)]
    images: Annotated[list[Image], Field(min_length=1)]
    annotations: list[Annotation]


def read_coco(path: Path) -> Document:
    """Read and check a file; its categories come sorted by id.

    Raises:
        InputError: not readable, not COCO detection JSON, or it names an image or a category that it does not list.
    """
    try:
        document = Document.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot read the annotations: {error.strerror}") from error
    except ValidationError as error:
        raise InputError(f"{path}: not COCO detection JSON: {_first_fault(error)}") from error
    document.categories.sort(key=lambda category: category.id)
    if fault := _misfit(document):
        raise InputError(f"{path}: {fault}")
    return document


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg']}"


def _misfit(document: Document) -> str | None:
    """What does not fit together, if anything."""
    categories = {category.id for category in document.categories}
    names = {category.name for category in document.categories}
    images = {image.id for image in document.images}
    for what, values in (
        ("category id", [category.id for category in document.categories]),
        ("category", [category.name for category in document.categories]),
        ("image id", [image.id for image in document.images]),
    ):
        if (twice := _repeated(values)) is not None:
            return f"{what} {twice} is listed twice"
    for image in document.images:
        if unknown := set(image.labelled or ()) - names:
            return f"{image.file_name} is labelled for {min(unknown)!r}, which is none of the categories"
    for number, annotation in enumerate(document.annotations, 1):
        if annotation.image_id not in images:
            return f"annotation number {number} is of image {annotation.image_id}, which the file does not list"
        if annotation.category_id not in categories:
            return f"annotation number {number} is of category {annotation.category_id}, which the file does not list"
    return None


def _repeated(values: Sequence[int] | Sequence[str]) -> int | str | None:
    counts: Iterable[tuple[int | str, int]] = Counter[int | str](values).most_common(1)
    return next((value for value, count in counts if count > 1), None)
