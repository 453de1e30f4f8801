"""Small synthetic photographs: the tests need no data set."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np


def write_photographs(folder: Path, count: int, *, size: tuple[int, int] = (120, 160), seed: int = 0) -> list[Path]:
    """Green ground, blue sky and a coloured disc somewhere: JPEG files that differ from one another."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    files = []
    for i in range(count):
        image = np.empty((*size, 3), np.uint8)
        horizon = int(rng.integers(size[0] // 4, size[0] * 3 // 4))
        image[:horizon] = (200, 150, 90)
        image[horizon:] = (60, 140, 80)
        texture = rng.integers(0, 90, (7, 9, 3), dtype=np.uint8)
        image = cv2.add(image, cv2.resize(texture, size[::-1], interpolation=cv2.INTER_CUBIC))
        centre = (int(rng.integers(30, size[1] - 30)), int(rng.integers(30, size[0] - 30)))
        cv2.circle(image, centre, 22, tuple(int(v) for v in rng.integers(0, 255, 3)), -1)
        files.append(folder / f"photo_{seed}_{i:03}.jpg")
        cv2.imwrite(str(files[-1]), image)
    return files


def write_coco(path: Path, files: list[Path], *, labelled: list[str] | None = None) -> Path:
    """Annotations that put one "dog" into the middle of each image; categories dog and cat."""
    images = [
        {"id": i, "file_name": f.name, "width": 160, "height": 120, "labelled": labelled or ["dog", "cat"]}
        for i, f in enumerate(files, start=1)
    ]
    boxes = [
        {"id": i, "image_id": i, "category_id": 2, "bbox": [40, 30, 80, 60], "area": 4800, "iscrowd": 0}
        for i in range(1, len(files) + 1)
    ]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    path.write_text(json.dumps({"images": images, "annotations": boxes, "categories": categories}), encoding="utf-8")
    return path
