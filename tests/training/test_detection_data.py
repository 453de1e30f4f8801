"""COCO annotations: what becomes of boxes and pseudo-labels, and what does not fit together."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.errors import InputError
from tests.training.photographs import write_coco, write_photographs
from training.data.detection import CocoDetection, warp_boxes


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


def test_an_image_is_boxed_if_people_boxed_something(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "a.json", write_photographs(tmp_path, 3))
    document = json.loads(path.read_text())
    document["annotations"] = [a for a in document["annotations"] if a["image_id"] != 2]
    for annotation in document["annotations"]:
        annotation |= {"source": "model", "score": 0.9} if annotation["image_id"] == 3 else {}
    path.write_text(json.dumps(document))
    assert [record.is_boxed for record in CocoDetection(path, tmp_path, 64).records] == [True, False, False]


def test_trust_is_where_pseudo_labels_begin_to_count(tmp_path: Path) -> None:
    files = write_photographs(tmp_path, 2)
    path = write_coco(tmp_path / "a.json", files)
    edit(path, lambda document: document["annotations"][0].update(source="model", score=0.6))
    weights = [CocoDetection(path, tmp_path, 64, trust=t).records[0].weights[0] for t in (0.5, 0.6, 0.7, 1.1)]
    assert weights == pytest.approx([0.6, 0.6, 0.0, 0.0])


def test_boxes_without_area_and_absent_images_are_left_out_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = write_photographs(tmp_path, 4)
    path = write_coco(tmp_path / "a.json", files)

    def spoil(document: Any) -> None:
        document["annotations"][0]["bbox"] = [40, 30, 0, 60]
        document["annotations"][1]["iscrowd"] = 1

    edit(path, spoil)
    files[3].unlink()
    data = CocoDetection(path, tmp_path, 64)
    assert [record.weights.tolist() for record in data.records] == [[], [0.0], [1.0]]  # a crowd is not learnt from
    assert data[0][1].boxes.shape == (0, 4)
    assert "1 of 4 boxes have no area" in caplog.text
    assert "1 of 4 images are not in" in caplog.text and files[3].name in caplog.text


@pytest.mark.parametrize("text", ["", "{", "[]", '{"images": []}', '{"categories": 3}', "\udcff"])
def test_wrong_annotations_are_one_clear_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "wrong.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=r"wrong\.json: not COCO detection JSON: ") as caught:
        CocoDetection(path, tmp_path, 128)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("images", {"file_name": None}, r"images\.0\.file_name"),
        ("images", {"labelled": ["dgo"]}, "labelled for 'dgo'"),
        ("images", {"id": 2}, "image id 2 is listed twice"),
        ("annotations", {"bbox": [1, 2, 3]}, r"annotations\.0\.bbox"),
        ("annotations", {"bbox": [1, 2, 3, float("nan")]}, r"annotations\.0\.bbox"),
        ("annotations", {"source": "model", "score": 87.0}, r"annotations\.0\.score"),
        ("annotations", {"source": "model", "score": -0.1}, r"annotations\.0\.score"),
        ("annotations", {"image_id": 77}, "of image 77"),
        ("annotations", {"category_id": 77}, "of category 77"),
        ("categories", {"name": "dog"}, "category dog is listed twice"),
        ("categories", {"name": ""}, r"categories\.0\.name"),
        ("categories", {"id": 2}, "category id 2 is listed twice"),
    ],
)
def test_annotations_that_do_not_fit_say_where(part: str, change: Any, message: str, tmp_path: Path) -> None:
    path = write_coco(tmp_path / "a.json", write_photographs(tmp_path, 2))
    edit(path, lambda document: document[part][0].update(change))
    with pytest.raises(InputError, match=message):
        CocoDetection(path, tmp_path, 64)


@pytest.mark.parametrize("part", ["images", "annotations", "categories"])
def test_annotations_without_a_part_say_which(part: str, tmp_path: Path) -> None:
    path = write_coco(tmp_path / "a.json", write_photographs(tmp_path, 1))
    edit(path, lambda document: document.pop(part))
    with pytest.raises(InputError, match=f"{part}: Field required"):
        CocoDetection(path, tmp_path, 64)


def test_annotations_of_other_images_are_an_error(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "a.json", write_photographs(tmp_path / "elsewhere", 1))
    with pytest.raises(InputError, match="none of its images"):
        CocoDetection(path, tmp_path, 64)
    with pytest.raises(InputError, match="cannot read the annotations"):
        CocoDetection(tmp_path / "absent.json", tmp_path, 64)


@pytest.mark.parametrize("sized", [True, False])
def test_boxes_outside_their_image_are_left_out_and_told(
    sized: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_coco(tmp_path / "a.json", write_photographs(tmp_path, 3))

    def spoil(document: Any) -> None:
        document["annotations"][0]["bbox"] = [160, 30, 80, 60]
        document["annotations"][1]["bbox"] = [-80, 30, 80, 60]
        if not sized:
            document["images"][0].pop("width")

    edit(path, spoil)
    data = CocoDetection(path, tmp_path, 64)
    assert [len(record.boxes) for record in data.records] == [0 if sized else 1, 0, 1]
    assert f"{2 if sized else 1} of 3 boxes lie outside their image" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(annotations=[]),
        lambda document: document["annotations"][0].update(bbox=[1000, 0, 10, 10]),
        lambda document: document["annotations"][0].update(bbox=[0, 0, 10, 0]),
        lambda document: document["annotations"][0].update(iscrowd=1),
        lambda document: document["annotations"][0].update(source="model", score=0.1),
    ],
)
def test_annotations_without_a_box_to_learn_from_are_an_error(
    change: Callable[[Any], object], tmp_path: Path
) -> None:
    path = write_coco(tmp_path / "a.json", write_photographs(tmp_path, 1))
    edit(path, change)
    with pytest.raises(InputError, match="no box to learn from"):
        CocoDetection(path, tmp_path, 64)


def test_a_pseudo_label_that_is_sure_is_still_not_a_person_s(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "a.json", write_photographs(tmp_path, 1))
    edit(path, lambda document: document["annotations"][0].update(source="model", score=1.0))
    data = CocoDetection(path, tmp_path, 64)
    assert data.records[0].weights.tolist() == [1.0] and not data.records[0].is_boxed
    assert data.draws({"dog": 5.0}).tolist() == [1.0]


def edit(path: Path, change: Callable[[Any], object]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
