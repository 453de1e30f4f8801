"""Calibration sets: what is taken, what is left out and told, what is refused, and what lies in the folder."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import InputError
from edge.media import read_still, writing_clip
from edge.types import UInt8Array
from tests.training.photographs import write_coco, write_photographs
from trt_build.__main__ import main
from trt_build.calibration import set as sets
from trt_build.calibration.fingerprints import Fingerprint, Known, dhash
from trt_build.calibration.frames import Candidate
from trt_build.calibration.hygiene import Coverage, OverlapError
from trt_build.calibration.set import make_set, read_set
from trt_build.calibration.sheet import contact_sheet, histogram_chart

FILES = ["calibration.json", "frames", "histogram.png", "report.json", "sheet.png"]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of 20 frames."""
    write_photographs(tmp_path / "site", 20)
    return tmp_path / "site"


def altered(file: Path, target: Path) -> Path:
    """The same picture, smaller and compressed once more."""
    image = cv2.imread(str(file))
    assert image is not None
    target.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(target), cv2.resize(image, None, fx=0.7, fy=0.7), [cv2.IMWRITE_JPEG_QUALITY, 60])
    return target


def candidate(luma: UInt8Array, name: str = "x.png") -> Candidate:
    histogram = np.bincount(luma.ravel(), minlength=256)
    return Candidate(Path(name), None, Fingerprint(name, 0), histogram, luma)


def flat(*values: int) -> list[Candidate]:
    return [candidate(np.full((4, 6), value, np.uint8)) for value in values]


class TestSet:
    def test_it_is_whole_and_of_its_own(self, site: Path, tmp_path: Path) -> None:
        made = make_set(site, tmp_path / "set", count=200)
        assert sorted(p.name for p in (tmp_path / "set").iterdir()) == FILES
        originals = [file.read_bytes() for file in sorted(site.iterdir())]
        shutil.rmtree(site)
        given = read_set(tmp_path / "set")
        assert [frame.read_bytes() for frame in given.frames] == originals
        assert given.calibration == made.calibration and given.calibration.images == 20

    def test_the_hash_is_that_of_the_content(self, site: Path, tmp_path: Path) -> None:
        one = make_set(site, tmp_path / "one", count=200).calibration
        renamed = tmp_path / "renamed"
        shutil.copytree(site, renamed)
        for file in sorted(renamed.iterdir()):
            file.rename(renamed / f"another_{file.name}")
        assert make_set(renamed, tmp_path / "two", count=200).calibration == one
        next(renamed.iterdir()).unlink()
        assert make_set(renamed, tmp_path / "three", count=200).calibration != one

    def test_it_takes_as_many_as_asked_spread_over_all(self, site: Path, tmp_path: Path) -> None:
        make_set(site, tmp_path / "set", count=16)
        report = json.loads((tmp_path / "set" / "report.json").read_text())
        assert report["frames"] == len(report["sources"]) == 16 and report["usable"] == 20
        assert Path(report["sources"][-1]) == sorted(site.iterdir())[-2]

    def test_an_altered_set_is_refused(self, site: Path, tmp_path: Path) -> None:
        make_set(site, tmp_path / "set", count=20)
        frame = next((tmp_path / "set" / "frames").iterdir())
        frame.write_bytes(frame.read_bytes() + b"x")
        with pytest.raises(InputError, match="not those that were chosen: run tapetum-build calibrate again"):
            read_set(tmp_path / "set")

    @pytest.mark.parametrize("content", [None, "{", '{"images": 0}'])
    def test_what_is_no_set_is_told_in_one_line(self, content: str | None, tmp_path: Path) -> None:
        if content is not None:
            (tmp_path / "calibration.json").write_text(content)
        with pytest.raises(InputError, match="not a calibration set") as raised:
            read_set(tmp_path)
        assert "\n" not in str(raised.value) and "run tapetum-build calibrate" in str(raised.value)

    def test_a_failure_in_the_middle_leaves_nothing(
        self, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(sets, "contact_sheet", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make_set(site, tmp_path / "set", count=20)
        assert [p.name for p in tmp_path.iterdir()] == ["site"]

    def test_a_clip_gives_frames(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        with writing_clip(tmp_path / "night.mp4", 25) as clip:
            for _ in range(20):
                block = rng.integers(0, 255, (8, 9, 1), np.uint8).repeat(3, 2)
                clip.write(cv2.resize(block, (96, 64), interpolation=cv2.INTER_NEAREST))
        made = make_set(tmp_path / "night.mp4", tmp_path / "set", count=16)
        frames = read_set(tmp_path / "set").frames
        assert made.calibration.images == 16 and {frame.suffix for frame in frames} == {".png"}
        assert read_still(frames[0]).shape == (64, 96)
        report = json.loads((tmp_path / "set" / "report.json").read_text())
        assert report["sources"][0].endswith("night.mp4#0")


class TestHygiene:
    def test_duplicates_are_left_out_and_listed(self, site: Path, tmp_path: Path) -> None:
        first = sorted(site.iterdir())[0]
        shutil.copy(first, site / "z_copy.jpg")
        altered(first, site / "z_smaller.jpg")
        made = make_set(site, tmp_path / "set", count=200)
        assert made.found.duplicates == [(site / "z_copy.jpg", first), (site / "z_smaller.jpg", first)]
        assert made.calibration.images == 20

    def test_corrupt_files_are_left_out_and_listed(self, site: Path, tmp_path: Path) -> None:
        (site / "broken.jpg").write_bytes(b"no picture")
        (site / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
        made = make_set(site, tmp_path / "set", count=200)
        assert [line.split(": ")[0] for line in made.found.corrupt] == [
            str(site / "broken.jpg"),
            str(site / "cut.png"),
        ]
        assert made.calibration.images == 20

    @pytest.mark.parametrize("same", [shutil.copy, altered])
    def test_validation_images_are_refused(
        self, same: Callable[[Path, Path], object], site: Path, tmp_path: Path
    ) -> None:
        twin, image = sorted(site.iterdir())[3], tmp_path / "validation" / "x.jpg"
        image.parent.mkdir()
        same(twin, image)
        with pytest.raises(OverlapError, match="1 of the frames are validation images too") as raised:
            make_set(site, tmp_path / "set", count=200, validation=[image])
        assert raised.value.pairs == [(twin, image)]
        assert not (tmp_path / "set").exists()

    def test_other_validation_images_are_fine(self, site: Path, tmp_path: Path) -> None:
        others = write_photographs(tmp_path / "validation", 5, seed=7)
        assert make_set(site, tmp_path / "set", count=200, validation=others).calibration.images == 20

    def test_too_few_are_refused(self, site: Path, tmp_path: Path) -> None:
        for file in sorted(site.iterdir())[:5]:
            file.write_bytes(b"")
        words = r"15 usable frames \(0 duplicates and 5 corrupt ones left out, first .*jpg: .*\): at least 16"
        with pytest.raises(InputError, match=words):
            make_set(site, tmp_path / "set", count=200)
        assert not (tmp_path / "set").exists()

    def test_light_is_measured(self) -> None:
        coverage = Coverage.of(flat(0, 10, 79, 80, 255))
        assert (coverage.night, coverage.dark, coverage.bright) == pytest.approx((0.6, 0.4, 0.2))
        assert coverage.levels == pytest.approx(5 / 256)
        assert coverage.histogram.sum() == pytest.approx(1)

    @pytest.mark.parametrize(
        ("values", "warnings"),
        [
            ([0] * 60 + [255] * 60, []),
            ([0, 255] * 20, ["40 frames: at least 100"]),
            ([120, 255] * 60, ["hardly anything dark", "hardly any night"]),
            ([0, 120] * 60, ["hardly anything bright"]),
            ([0] * 120, ["hardly anything bright", "hardly any day"]),
        ],
    )
    def test_what_a_set_lacks_is_told(self, values: list[int], warnings: list[str]) -> None:
        found = Coverage.of(flat(*values)).warnings()
        assert len(found) == len(warnings)
        assert all(line.startswith(start) for line, start in zip(found, warnings, strict=True))


class TestFingerprints:
    def test_the_hash_says_where_it_gets_brighter(self) -> None:
        ramp = np.tile(np.arange(0, 180, 20, dtype=np.uint8), (8, 1))
        assert dhash(ramp) == 2**64 - 1
        assert dhash(np.ascontiguousarray(ramp[:, ::-1])) == 0
        ramp[0, 1] = 0  # one pixel: no longer brighter than its left neighbour
        assert dhash(ramp) == 2**63 - 1

    def test_near_hashes_are_found_and_others_are_not(self) -> None:
        known = Known(near_bits=4)
        for i in range(1500):  # more than it has room for at first
            known.add(Path(str(i)), Fingerprint(str(i), (1 << 63) | (0xFFFF << 20 if i == 700 else 0)))
        assert known.like(Fingerprint("x", (1 << 63) | (0xFFFF << 20) | 0b1111)) == Path("700")
        assert known.like(Fingerprint("x", (1 << 63) | (0xFFFF << 20) | 0b11111)) is None
        assert known.like(Fingerprint("7", 0xFFFFFF)) == Path("7")


class TestPictures:
    def test_the_sheet_shows_every_frame_with_its_light(self) -> None:
        sheet = contact_sheet(flat(*[10] * 17, 200))
        assert sheet.shape == (2 * 104, 16 * 104, 3)
        assert np.any(np.all(sheet == (150, 80, 40), axis=-1)) and np.any(np.all(sheet == (60, 160, 235), axis=-1))

    def test_the_chart_has_a_line_for_night_and_day(self) -> None:
        frames = [candidate(np.arange(80, dtype=np.uint8)[None]), candidate(np.arange(80, 256, dtype=np.uint8)[None])]
        chart = histogram_chart(frames, Coverage.of(frames))
        lines = chart[100:430]
        for colour in ((150, 80, 40), (60, 160, 235)):
            assert np.all(lines == colour, axis=-1).sum() > 300


class TestCommand:
    def test_it_tells_what_it_did(self, site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        shutil.copy(sorted(site.iterdir())[0], site / "z_copy.jpg")
        (site / "broken.jpg").write_bytes(b"")
        assert main(["calibrate", str(site), "--out", str(tmp_path / "set")]) == 0
        out = capsys.readouterr().out
        assert f"left out: {site / 'broken.jpg'}: not an image" in out
        assert f"left out: {site / 'z_copy.jpg'}: like {site}" in out
        assert "20 frames of 20 usable ones: night " in out and "warning: 20 frames: at least 100" in out

    def test_overlap_names_every_frame(self, site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        coco = write_coco(tmp_path / "site.json", sorted(site.iterdir()))  # the images lie in a folder of its name
        assert main(["calibrate", str(site), "--out", str(tmp_path / "set"), "--validation", str(coco)]) == 3
        captured = capsys.readouterr()
        assert captured.out.count("is validation image") == 20
        assert captured.err.splitlines()[-1].startswith("tapetum-build: 20 of the frames are validation images too")

    @pytest.mark.parametrize(
        ("frames", "options", "message"),
        [
            ("absent", [], "neither a folder of images nor a .txt list"),
            ("empty", [], "no image in it"),
            ("site", ["--out", "{tmp}/site"], "is there already"),
            ("site", ["--validation", "{tmp}/bad.json"], "not COCO annotations"),
            ("site", ["--validation", "{tmp}/lost.json"], "lies neither beside it nor in"),
        ],
    )
    def test_bad_input_is_one_line(
        self,
        frames: str,
        options: list[str],
        message: str,
        site: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        (tmp_path / "empty").mkdir()
        (tmp_path / "bad.json").write_text("[]")
        write_coco(tmp_path / "lost.json", [Path("nowhere.jpg")])
        filled = [option.format(tmp=tmp_path) for option in options]
        command = ["calibrate", str(tmp_path / frames), "--out", str(tmp_path / "set"), *filled]
        assert main(command) == 3
        error = capsys.readouterr().err
        assert error.startswith("tapetum-build: ") and message in error and error.count("\n") == 1
        assert not (tmp_path / "set").exists()

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"\xff\xfe\x00", "not a text file"),
            (b"\n# nothing\n", "names no image"),
            (b"\xff.jpg\n", "0 usable frames (0 duplicates and 1 corrupt ones left out, first "),
        ],
    )
    def test_a_bad_list_is_one_line(
        self, content: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "frames.txt").write_bytes(content)
        assert main(["calibrate", str(tmp_path / "frames.txt"), "--out", str(tmp_path / "set")]) == 3
        error = capsys.readouterr().err
        assert error.startswith("tapetum-build: ") and message in error and error.count("\n") == 1

    def test_a_list_beside_its_images_and_the_folder_one_stands_in(
        self, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        names = [image.name for image in sorted(site.iterdir())]
        (site / os.fsdecode(b"\xff.jpg")).write_bytes(b"broken, and its name is no text")
        (site / "site.txt").write_bytes(os.fsencode("\n".join(["# of the site", *names, os.fsdecode(b"\xff.jpg")])))
        (tmp_path / "set").mkdir()
        monkeypatch.chdir(tmp_path / "set")
        assert main(["calibrate", str(site / "site.txt"), "--out", "."]) == 0
        assert "\\udcff.jpg: not an image" in capsys.readouterr().out
        assert len(read_set(tmp_path / "set").frames) == 20

    def test_a_folder_that_cannot_be_written_is_one_line(
        self, site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "file").touch()
        out = tmp_path / "file" / "set"
        assert main(["calibrate", str(site), "--out", str(out)]) == 1
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith(f"tapetum-build: {out}: cannot write the set: ") and "nothing was written" in error

    @pytest.mark.parametrize("value", ["15", "many"])
    def test_a_count_is_large_enough(self, value: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit, match="2"):
            main(["calibrate", "x", "--out", "y", "--count", value])
        assert f"argument --count: '{value}' is not a whole number from 16 on" in capsys.readouterr().err
