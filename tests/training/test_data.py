"""Photographs and lists: what is read, what is held out, and broken ones."""

from __future__ import annotations

import logging
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
from torch.utils.data import DataLoader

from edge.errors import InputError
from tests.training.photographs import write_coco, write_photographs
from training.data.detection import CocoDetection
from training.data.images import find_images, list_images, read_list, read_rgb
from training.data.photographs import ColourCrops, target_ab
from training.data.split import is_held_out, split_images

HELD_OUT = Path(__file__).parents[2] / "docs" / "held-out.txt"


def test_the_held_out_share_depends_on_the_name_alone() -> None:
    names = [f"image_{i}.jpg" for i in range(4000)]
    share = np.mean([is_held_out(n) for n in names])
    assert 0.13 < share < 0.17
    held_out = [i for i in range(40) if is_held_out(names[i])]
    assert held_out == [3, 7, 12, 15, 17, 23, 26, 32, 34, 36, 38]  # now and for ever


def test_names_that_are_no_unicode_are_held_out_too() -> None:
    names = [f"caf\udce9_{i}.jpg" for i in range(100)]  # as Python reads b"caf\xe9" from a folder
    assert 0 < sum(map(is_held_out, names)) < 100


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


def test_the_context_networks_view_has_its_own_size(tmp_path: Path) -> None:
    data = ColourCrops(write_photographs(tmp_path, 1), 96, context_px=64)
    assert data[0][1].shape == (1, 64, 64)


def test_a_broken_photograph_is_told_and_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = write_photographs(tmp_path, 2)
    files[0].write_bytes(b"not a jpeg")
    data = ColourCrops(files, 96)
    assert data.files == files[1:] and data[0][0].shape == (1, 96, 96)
    assert "photo_0_000.jpg: not an image" in caplog.text


def test_grey_photographs_are_counted_and_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = write_photographs(tmp_path, 3)
    grey = cv2.imread(str(files[1]), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(files[1]), grey)
    cv2.imwrite(str(files[2]), cv2.merge([grey, grey, cv2.add(grey, 4)]), [cv2.IMWRITE_JPEG_QUALITY, 60])  # nearly so
    assert ColourCrops(files, 96).files == files[:1]
    assert "2 of 3 photographs are grey" in caplog.text
    with pytest.raises(InputError, match="no colour photograph among 2"):
        ColourCrops(files[1:], 96)


@pytest.mark.parametrize("kind", ["photographs", "detection"])
def test_what_breaks_in_the_middle_of_training_is_told_once(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = write_photographs(tmp_path, 3)
    data: ColourCrops | CocoDetection = ColourCrops(files, 96)
    if kind == "detection":
        data = CocoDetection(write_coco(tmp_path / "a.json", files), tmp_path, 96)
    files[1].write_bytes(files[1].read_bytes()[:500])  # cut short
    assert [data[1][0].shape for _ in range(3)] == [(1, 96, 96)] * 3
    assert caplog.text.count("photo_0_001.jpg") == 1
    for file in files:
        file.unlink()
    with pytest.raises(InputError, match="none of the 3 images can be read"):
        data[0]


def test_loader_processes_share_what_is_broken(tmp_path: Path) -> None:
    data = ColourCrops(write_photographs(tmp_path, 4), 64)
    data.files[2].unlink()
    with closing(logging.FileHandler(tmp_path / "log")) as handler:  # forked processes write to it too
        logging.getLogger("training").addHandler(handler)
        for _ in range(2):  # each epoch starts processes of its own
            assert sum(len(luma) for luma, _, _ in DataLoader(data, 2, num_workers=1)) == 4
        logging.getLogger("training").removeHandler(handler)
    assert (tmp_path / "log").read_text().count("photo_0_002.jpg") == 1


def test_a_reader_needs_files() -> None:
    with pytest.raises(InputError, match="no colour photograph"):
        ColourCrops([], 64)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_images_that_are_cut_short_are_refused(suffix: str, share: float, tmp_path: Path) -> None:
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (80, 90, 3), np.uint8), (0, 0), 2)
    content = cv2.imencode(suffix, image)[1].tobytes()
    path = tmp_path / f"whole{suffix}"
    path.write_bytes(content)
    assert read_rgb(path).shape == (80, 90, 3)
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match="whole"):
        read_rgb(path)


def test_lists_name_files_relative_to_themselves_or_absolutely(tmp_path: Path) -> None:
    files = write_photographs(tmp_path / "photos", 2)
    listed = tmp_path / "list.txt"
    listed.write_bytes(b"# comment\n\nphotos/" + files[0].name.encode() + b"\r\n" + str(files[1]).encode())
    assert read_list(listed) == files == find_images(listed) == find_images(tmp_path / "photos")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "names no image"),
        (b"# only this\n", "names no image"),
        (b"a.jpg\nb.jpg\nc.jpg\nd.jpg\nphotos/photo_0_000.jpg", r"4 of its 5 .*a\.jpg.*c\.jpg, \.\.\."),
        (b"\x89PNG\r\n\0\0", "not a text file"),
        (b"caf\xe9.jpg", "1 of its 1 images are missing"),
    ],
)
def test_lists_with_missing_files_are_one_clear_error(content: bytes, message: str, tmp_path: Path) -> None:
    write_photographs(tmp_path / "photos", 1)
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(InputError, match=rf"list\.txt: .*{message}"):
        read_list(tmp_path / "list.txt")


def test_missing_files_of_a_list_may_be_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = write_photographs(tmp_path, 1)
    listed = tmp_path / "list.txt"
    listed.write_text(f"absent.jpg\n{files[0].name}\n")
    assert read_list(listed, skip_missing=True) == files
    assert "1 of its 2 images are missing" in caplog.text and "absent.jpg" in caplog.text
    listed.write_text("absent.jpg\n")
    with pytest.raises(InputError, match="1 of its 1 images are missing"):
        read_list(listed, skip_missing=True)


def test_a_list_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.txt: cannot read the list"):
        find_images(tmp_path / "absent.txt")


def test_the_committed_list_is_what_the_names_say() -> None:
    names = [line for line in HELD_OUT.read_text().splitlines() if line and not line.startswith("#")]
    assert names == sorted(set(names))
    trained = [Path(name) for name in names if Path(name).parent.name == "train"]
    assert len(trained) > 800 and all(is_held_out(path.name) for path in trained)
    assert {str(Path(name).parent) for name in names} == {
        "colorizer/train", "nir/camera_trap", "nir/pairs", "recognizer/train", "recognizer/val"
    }  # fmt: skip


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no image"):
        list_images([tmp_path])
    with pytest.raises(InputError, match="no such folder"):
        list_images([tmp_path / "absent"])
