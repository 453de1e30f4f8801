"""The images that accuracy will be measured on, from what `evaluate` is given."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from edge.errors import InputError
from trt_build.graphs import list_images


def validation_images(where: Path) -> Iterator[Path]:
    """Images of a folder, of a .txt list, or of COCO annotations.

    The images of annotations lie beside the file, or in a folder of its name: `val.json`, `val/`.

    Raises:
        InputError: it is none of these, or an image is missing.
    """
    if where.suffix != ".json":
        yield from list_images(where)
        return
    folders = (where.parent, where.with_suffix(""))
    for name in _annotated(where):
        file = next((folder / name for folder in folders if (folder / name).exists()), None)
        if file is None:
            raise InputError(f"{where}: {name} lies neither beside it nor in {folders[1]}: give the images' folder")
        yield file


def _annotated(where: Path) -> list[str]:
    try:
        return [str(image["file_name"]) for image in json.loads(where.read_text(encoding="utf-8"))["images"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{where}: not COCO annotations ({error}): give a .json file with images") from error
