"""Metrics against published values and cases whose answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.errors import InputError
from tests.training.photographs import write_coco, write_photographs
from training.metrics import average_precision, colour_metrics, colourfulness


def test_equal_images_are_equal() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    metrics = colour_metrics(image, image)
    assert metrics["psnr_db"] > 100 and metrics["ciede2000"] == 0


def test_psnr_of_a_known_error() -> None:
    truth = np.full((32, 32, 3), 100, np.uint8)
    assert colour_metrics(truth + np.uint8(10), truth)["psnr_db"] == pytest.approx(20 * np.log10(25.5), abs=1e-6)


def test_grey_has_no_colourfulness_and_saturated_colours_have_much() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    assert colourfulness(ramp) == 0
    vivid = np.zeros((2, 2, 3), np.uint8)
    vivid[0], vivid[1] = (255, 0, 0), (0, 0, 255)
    assert colourfulness(vivid) > 100


def detections(files: list[Path], box: list[float]) -> list[dict[str, object]]:
    return [{"file_name": f.name, "label": "dog", "bbox": box, "score": 0.9} for f in files]


def test_average_precision_of_right_wrong_and_no_answers(tmp_path: Path) -> None:
    files = write_photographs(tmp_path, 4)
    coco = write_coco(tmp_path / "a.json", files)
    assert average_precision(coco, detections(files, [40, 30, 80, 60]))["dog"] == pytest.approx(1.0, abs=0.01)
    assert average_precision(coco, detections(files, [0, 0, 20, 20]))["dog"] == 0
    assert average_precision(coco, [])["dog"] == 0


def test_images_in_which_a_label_is_not_boxed_do_not_count(tmp_path: Path) -> None:
    files = write_photographs(tmp_path, 4)
    coco = write_coco(tmp_path / "a.json", files, labelled=["cat"])
    assert "dog" not in average_precision(coco, detections(files, [0, 0, 20, 20]))


def test_missing_annotations_are_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        average_precision(tmp_path / "absent.json", [])
