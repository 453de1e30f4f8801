"""Photographs, annotations and the NIR look; broken ones too."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import InputError
from tests.training.photographs import write_coco, write_photographs
from training.data.detection import CocoDetection, warp_boxes
from training.data.nir import luma_of, nir_like, spectral_mix
from training.data.photographs import ColourCrops, is_held_out, list_images, split_images, target_ab


def test_nir_like_is_grey_uint8_and_reproducible() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    first = nir_like(rgb, np.random.default_rng(7))
    assert first.dtype == np.uint8 and first.shape == (60, 80)
    np.testing.assert_array_equal(first, nir_like(rgb, np.random.default_rng(7)))
    assert not np.array_equal(first, nir_like(rgb, np.random.default_rng(8)))


def test_foliage_is_brighter_and_sky_darker_than_in_luma() -> None:
    image = np.zeros((2, 2, 3), np.float32)
    image[0], image[1] = (0.15, 0.45, 0.12), (0.35, 0.55, 0.9)  # leaves, clear sky
    luma = image @ np.array([0.299, 0.587, 0.114], np.float32)
    mixes = [spectral_mix(image, np.random.default_rng(s)) for s in range(200)]
    mean = np.mean(mixes, axis=0)
    assert mean[0].mean() > luma[0].mean() + 0.1
    assert mean[1].mean() < luma[1].mean() - 0.05


def test_the_held_out_share_depends_on_the_name_alone() -> None:
    names = [f"image_{i}.jpg" for i in range(4000)]
    share = np.mean([is_held_out(n) for n in names])
    assert 0.13 < share < 0.17
    assert [is_held_out(n) for n in names[:50]] == [is_held_out(n) for n in names[:50]]


def test_split_drops_near_duplicates_of_held_out_images(tmp_path: Path) -> None:
    files = write_photographs(tmp_path, 40)
    held_out = [f for f in files if is_held_out(f.name)]
    assert held_out
    twin = next(f"twin_{i}.jpg" for i in range(100) if not is_held_out(f"twin_{i}.jpg"))
    cv2.imwrite(str(tmp_path / twin), cv2.imread(str(held_out[0])), [cv2.IMWRITE_JPEG_QUALITY, 60])
    split = split_images(list_images([tmp_path]))
    assert tmp_path / twin not in split.train
    assert not set(split.train) & set(split.held_out)


def test_colour_crops_fit_together(tmp_path: Path) -> None:
    data = ColourCrops(write_photographs(tmp_path, 3), 96)
    luma, whole, ab = data[1]
    assert luma.shape == (1, 96, 96) and whole.shape == (1, 224, 224) and ab.shape == (2, 48, 48)
    assert luma.min() >= 0 and luma.max() <= 1
    assert ab.abs().max() > 5


def test_target_ab_of_a_known_colour() -> None:
    ab = target_ab(np.full((4, 4, 3), (255, 0, 0), np.uint8))  # sRGB red: a 80.1, b 67.2
    np.testing.assert_allclose(ab[:, 0, 0], [80.1, 67.2], atol=0.3)


def test_a_broken_photograph_is_skipped(tmp_path: Path) -> None:
    files = write_photographs(tmp_path, 2)
    files[0].write_bytes(b"not a jpeg")
    luma, _, _ = ColourCrops(files, 96)[0]
    assert luma.shape == (1, 96, 96)


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no image"):
        list_images([tmp_path])
    with pytest.raises(InputError, match="no such folder"):
        list_images([tmp_path / "absent"])


def test_detection_items_follow_their_boxes(tmp_path: Path) -> None:
    files = write_photographs(tmp_path, 4)
    data = CocoDetection(write_coco(tmp_path / "a.json", files), tmp_path, 128)
    image, target = data[0]
    assert image.shape == (1, 128, 128)
    assert target.labels.tolist() == [1]
    assert (target.boxes >= 0).all() and (target.boxes <= 128).all()
    assert target.labelled.tolist() == [True, True]


def test_labelled_and_pseudo_labels_are_respected(tmp_path: Path) -> None:
    files = write_photographs(tmp_path, 1)
    path = write_coco(tmp_path / "a.json", files, labelled=["dog"])
    document = json.loads(path.read_text())
    document["annotations"] += [
        {"id": 9, "image_id": 1, "category_id": 1, "bbox": [0, 0, 50, 50], "source": "model", "score": 0.9},
        {"id": 10, "image_id": 1, "category_id": 1, "bbox": [0, 0, 50, 50], "source": "model", "score": 0.2},
    ]
    path.write_text(json.dumps(document))
    data = CocoDetection(path, tmp_path, 128)
    assert data.records[0].weights.tolist() == pytest.approx([1.0, 0.9, 0.0])
    assert data[0][1].labelled.tolist() == [False, True]


def test_mirrored_boxes_stay_boxes() -> None:
    mirror = np.array([[-1, 0, 100], [0, 1, 0]], np.float32)
    boxes, visible = warp_boxes(np.array([[10, 20, 30, 40]], np.float32), mirror, 100)
    np.testing.assert_allclose(boxes, [[70, 20, 90, 40]])
    assert visible[0] == pytest.approx(1.0)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"images": []}', '{"categories": 3}'])
def test_wrong_annotations_are_one_clear_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"wrong\.json"):
        CocoDetection(path, tmp_path, 128)


def test_luma_is_the_runtimes_own() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    np.testing.assert_array_equal(luma_of(rgb), cv2.cvtColor(rgb[..., ::-1].copy(), cv2.COLOR_BGR2GRAY))
