"""`tapetum-train evaluate` and its judges: on the shipped bundle, on small checkpoints, on bad input."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from edge.bundles.bundle import DEMO_BUNDLE
from edge.errors import InputError
from edge.kernels.lab_merge import lab_merge_bgr
from edge.types import Detections, Float32Array, UInt8Array
from tests.edge.tiny_bundle import make_tiny_bundle
from tests.training.photographs import write_coco, write_photographs
from training.__main__ import main
from training.checkpoint import Card, save_weights
from training.judging.judge import Subject, judge_colours, judge_detector, nir_pairs, photographs
from training.judging.video import judge_video
from training.metrics.truth import read_truth
from training.models.colorizer import Colorizer
from training.models.recognizer import Recognizer
from training.outputs import write_json


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_photographs(tmp_path_factory.mktemp("photographs"), 3)


@pytest.fixture(scope="module")
def coco(images: list[Path]) -> Path:
    return write_coco(images[0].parent / "coco.json", images)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    for i, file in enumerate(write_photographs(folder / "photographs", 2, seed=1)):
        bgr = cv2.imread(str(file))
        cv2.imwrite(str(folder / f"pair{i}_rgb.png"), bgr)
        cv2.imwrite(str(folder / f"pair{i}_nir.png"), 255 - cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY))
    return folder


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4", frames=8)


def write_video(path: Path, *, frames: int, width: int = 64, height: int = 48, codec: str = "mp4v") -> Path:
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), 25.0, (width, height))
    assert writer.isOpened()
    y, x = np.mgrid[:height, : width + 2 * frames]
    scene = (128 + 60 * np.sin(x / 5) * np.cos(y / 7)).astype(np.uint8)
    for i in range(frames):
        writer.write(np.repeat(scene[:, 2 * i : 2 * i + width, None], 3, axis=2))
    writer.release()
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of cats and dogs that loads at once."""
    return make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folders `recognizer` and `colorizer`, as after a training of no steps."""
    folder = tmp_path_factory.mktemp("runs")
    torch.manual_seed(0)
    card = Card("recognizer", labels=["cat", "dog"], input_size=96)
    save_weights(folder / "recognizer", Recognizer(2, 96).state_dict(), card)
    save_weights(folder / "colorizer", Colorizer().state_dict(), Card("colorizer", input_size=64))
    return folder


def results_of(*arguments: str | Path, out: Path) -> dict[str, Any]:
    assert main([*map(str, arguments), "--out", str(out)]) == 0
    document: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return document


def complaint_of(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    """Exit code and the one line that is told."""
    code = main([*map(str, arguments)])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tapetum-train: ")]
    assert len(lines) == 1
    return code, lines[0]


# The judges, with colorizers and detectors whose scores are known


def grey(luma: UInt8Array) -> Float32Array:
    return np.zeros((2, 8, 8), np.float32)


def green(luma: UInt8Array) -> Float32Array:
    return np.broadcast_to(np.float32([-30, 20])[:, None, None], (2, 8, 8)).copy()


def test_a_colorizer_without_colour_scores_as_the_grey_copy(images: list[Path]) -> None:
    report = judge_colours(grey, photographs(images))
    assert [file for file, _ in report.rows] == [file.name for file in images]
    for name in ("mssim", "psnr_db", "ciede2000"):
        assert report.mean[name] == pytest.approx(report.mean[f"grey_{name}"])
    assert report.mean["colourfulness"] < 0.5 < 20 < report.mean["truth_colourfulness"]


def test_right_colours_score_perfectly(tmp_path: Path) -> None:
    luma = np.random.default_rng(0).integers(60, 200, (48, 64), np.uint8)
    cv2.imwrite(str(tmp_path / "truth.png"), lab_merge_bgr(luma, green(luma)))
    cv2.imwrite(str(tmp_path / "luma.png"), luma)
    report = judge_colours(green, [Subject(tmp_path / "luma.png", tmp_path / "truth.png")])
    assert report.mean["psnr_db"] > 100 and report.mean["mssim"] == pytest.approx(1)
    assert report.mean["ciede2000"] == 0 < report.mean["grey_ciede2000"]
    assert report.mean["colourfulness"] == report.mean["truth_colourfulness"]


def test_samples_are_spread_evenly_and_small(images: list[Path], tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    cv2.imwrite(str(large), np.full((300, 700, 3), 90, np.uint8))
    report = judge_colours(green, photographs([*images, large]), samples=2)
    assert [sample.file for sample in report.samples] == [images[0].name, images[2].name]
    sample = judge_colours(green, photographs([images[0], large]), samples=12).samples[1]
    assert sample.luma.shape == (137, 320) and sample.truth.shape == sample.result.shape == (137, 320, 3)


def test_broken_images_are_reported_and_skipped(
    images: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(images[0].read_bytes()[:400])
    with caplog.at_level(logging.WARNING):
        report = judge_colours(green, photographs([broken, images[1]]))
    assert report.skipped == ["broken.jpg"] and len(report.rows) == 1
    assert "broken.jpg" in caplog.text and "skipped" in caplog.text
    with pytest.raises(InputError, match=r"none of the 1 images can be used.*broken\.jpg"):
        judge_colours(green, photographs([broken]))


def test_many_broken_images_are_told_by_their_number(
    images: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    absent = [tmp_path / f"absent_{i}.jpg" for i in range(5)]
    with caplog.at_level(logging.WARNING):
        report = judge_colours(green, photographs([*absent, images[1]]))
    assert report.skipped == [file.name for file in absent]
    assert len(caplog.messages) == 4 and caplog.messages[-1] == "2 files more cannot be used, 5 in all, skipped"


def test_a_pair_of_two_sizes_is_skipped(pairs: Path, images: list[Path]) -> None:
    cut = pairs / "photographs" / "cut.png"
    cv2.imwrite(str(cut), np.zeros((60, 80), np.uint8))
    good = nir_pairs(pairs)
    report = judge_colours(green, [*good, Subject(cut, good[0].truth)])
    assert report.skipped == ["cut.png"] and len(report.rows) == 2


class Finds:
    """A detector that tells the same dog in every image, and counts its calls."""

    def __init__(self, box: tuple[float, float, float, float] = (40, 30, 120, 90)) -> None:
        self.box, self.calls = box, 0

    def __call__(self, luma: UInt8Array) -> Detections:
        self.calls += 1
        return Detections(np.float32([self.box]), np.array([1]), np.float32([0.9]))


def test_a_perfect_detector_scores_one(coco: Path) -> None:
    report = judge_detector(Finds(), ["cat", "dog"], read_truth(coco), coco.parent)
    assert report.mean == pytest.approx({"ap": 1, "ap50": 1, "recall": 1, "recall50": 1})
    assert set(report.labels) == {"dog"} and report.images == 3
    assert report.confusion.counts.tolist() == [[0, 0, 0], [0, 3, 0], [0, 0, 0]]


def test_images_that_are_missing_are_skipped_and_cost_nothing(images: list[Path], tmp_path: Path) -> None:
    coco = write_coco(tmp_path / "coco.json", [*images, Path("absent.jpg")])
    report = judge_detector(Finds(), ["cat", "dog"], read_truth(coco), images[0].parent)
    assert report.skipped == ["absent.jpg"] and report.mean["recall"] == pytest.approx(1)
    with pytest.raises(InputError, match="none of the 4 images can be used"):
        judge_detector(Finds(), ["cat", "dog"], read_truth(coco), tmp_path)


def test_labels_that_do_not_meet(coco: Path, caplog: pytest.LogCaptureFixture) -> None:
    truth, detector = read_truth(coco), Finds()
    with pytest.raises(InputError, match="no label in common: the model has fish, bird; the data cat, dog"):
        judge_detector(detector, ["fish", "bird"], truth, coco.parent)
    with pytest.raises(InputError, match="no image holds a boxed object of any label that the model has: cat"):
        judge_detector(detector, ["cat", "bird"], truth, coco.parent)
    assert "does not have, not judged: dog" in caplog.text
    report = judge_detector(detector, ["bird", "dog"], truth, coco.parent)
    assert report.unknown == ["cat"] and report.mean["ap50"] == pytest.approx(1)


def test_pseudo_labels_are_no_truth(coco: Path, tmp_path: Path) -> None:
    document = json.loads(coco.read_text())
    document["annotations"][0] |= {"source": "model", "score": 0.9}
    changed = tmp_path / "coco.json"
    changed.write_text(json.dumps(document))
    report = judge_detector(Finds(), ["cat", "dog"], read_truth(changed), coco.parent)
    assert report.labels["dog"].boxes == 2 and report.confusion.counts[2, 1] == 1


class Blinking:
    """Networks whose colour alternates from frame to frame."""

    def __init__(self) -> None:
        self.calls = 0

    def context(self, luma: UInt8Array) -> Float32Array:
        return np.zeros((1, 1000), np.float32)

    def colour(self, luma: UInt8Array, context: Float32Array) -> Float32Array:
        self.calls += 1
        return green(luma) * np.float32(self.calls // 2 % 2)  # each frame is coloured twice: as shown, and raw


def test_the_service_shows_less_flicker_than_the_networks_make(video: Path) -> None:
    report = judge_video(Blinking(), video)
    assert report.frames == 8
    assert report.raw["cdc"] > 2 * report.grey["cdc"]
    assert report.raw["warp_error"] > report.shown["warp_error"] > report.grey["warp_error"]
    assert report.grey["colourfulness"] == 0 < report.shown["colourfulness"]


def test_a_video_that_breaks_off_is_judged_up_to_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = write_video(tmp_path / "whole.avi", frames=40, codec="MJPG")
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    report = judge_video(Blinking(), cut)
    assert 5 <= report.frames < 40
    assert f"broken after {report.frames} of 40 frames" in caplog.text


# The commands, end to end


def test_colorizer_of_the_demo_bundle(
    images: list[Path], pairs: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = results_of(
        *("evaluate", "colorizer", "--bundle", DEMO_BUNDLE, "--precision", "int8"),
        *("--images", images[0].parent, "--pairs", pairs, "--video", video, "--frames", "6"),
        *("--sheet", tmp_path / "sheet.png"),
        out=tmp_path / "results.json",
    )
    assert results["model"]["bundle"] == "demo"
    assert results["model"]["precision"] == {"context": "int8", "colorizer": "int8"}
    assert set(results["model"]["sha256"]) == {"context", "colorizer"}
    assert results["command"].startswith("tapetum-train evaluate colorizer --bundle demo ")
    assert results["versions"]["openvino"] and "torch" not in results["versions"]
    assert results["images"]["count"] == len(results["images"]["rows"]) == 3
    assert results["pairs"]["count"] == 2 and results["pairs"]["rows"][0]["file"] == "pair0_nir.png"
    assert results["pairs"]["mean"]["grey_mssim"] < results["images"]["mean"]["grey_mssim"]
    assert results["video"]["frames"] == 6 and results["video"]["raw"]["cdc"] >= 0
    assert cv2.imread(str(tmp_path / "sheet.png")).shape[1] > 1000
    printed = capsys.readouterr().out
    assert "images: 3 judged, 0 skipped" in printed and "shown: cdc" in printed


def test_recognizer_of_the_demo_bundle(images: list[Path], coco: Path, tmp_path: Path) -> None:
    only = tmp_path / "only.txt"
    only.write_text(f"# held out\n{images[0]}\nelsewhere/{images[2].name}\n")
    results = results_of(
        *("evaluate", "recognizer", "--bundle", DEMO_BUNDLE, "--coco", coco, "--images", coco.parent),
        *("--only", only, "--confusion", tmp_path / "confusion.png", "--curves", tmp_path / "curves.png"),
        out=tmp_path / "results.json",
    )
    assert results["model"]["precision"] == {"recognizer": "int8"}
    assert results["count"] == 2 and results["unknown_labels"] == []
    assert results["labels"]["dog"]["boxes"] == 2 and len(results["labels"]["dog"]["precision"]) == 101
    assert np.shape(results["confusion"]["counts"]) == (3, 3)
    for name in ("confusion.png", "curves.png"):
        assert cv2.imread(str(tmp_path / name)) is not None


def test_checkpoints(images: list[Path], coco: Path, runs: Path, tmp_path: Path) -> None:
    colour = results_of(
        *("evaluate", "colorizer", "--checkpoint", runs / "colorizer", "--images", images[0].parent),
        out=tmp_path / "colour.json",
    )
    assert colour["model"]["checkpoint"] == "colorizer"
    assert colour["model"]["card"]["context"] == "efficientnet_lite0"
    assert colour["versions"]["torch"] and colour["images"]["count"] == 3
    detection = results_of(
        *("evaluate", "recognizer", "--checkpoint", runs / "recognizer" / "model.safetensors"),
        *("--coco", coco, "--images", coco.parent),
        out=tmp_path / "detection.json",
    )
    assert detection["model"]["checkpoint"] == "recognizer"
    assert detection["labels"]["dog"]["boxes"] == 3


def test_a_bundle_is_evaluated_without_pytorch(images: list[Path], tiny: Path, tmp_path: Path) -> None:
    command = ["evaluate", "colorizer", "--bundle", str(tiny), "--images", str(images[0].parent), "--out"]
    code = (
        "import sys; from training.__main__ import main; "
        f"code = main({[*command, str(tmp_path / 'r.json')]}); sys.exit(code or 5 * ('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr


# Bad input


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["colorizer"], 2, "give --images, --pairs or --video"),
        (["colorizer", "--video", "{tmp}/x.mp4", "--sheet", "{tmp}/s.png"], 2, "--sheet shows photographs or pairs"),
        (["colorizer", "--images", "{tmp}/empty"], 3, "no image"),
        (["colorizer", "--images", "{tmp}/absent"], 3, "absent: cannot read the list"),
        (["colorizer", "--images", "{tmp}/list.txt"], 3, "1 of its 1 images are missing"),
        (["colorizer", "--images", "{tmp}/broken"], 3, "none of the 1 images can be used"),
        (["colorizer", "--images", "{images}", "--sheet", "{tmp}/sheet.docx"], 2, "unknown kind of picture"),
        (["colorizer", "--pairs", "{tmp}/absent"], 3, "no such folder"),
        (["colorizer", "--pairs", "{tmp}/empty"], 3, "no pair X_nir.*, X_rgb.* in it"),
        (["colorizer", "--pairs", "{tmp}/lonely"], 3, "there is no a_rgb.* beside it"),
        (["colorizer", "--video", "{tmp}/absent.mp4"], 3, "not a video, or broken"),
        (["colorizer", "--video", "{tmp}/list.txt"], 3, "not a video, or broken"),
        (["colorizer", "--video", "{tmp}/short.mp4"], 3, "3 frames can be decoded: flicker shows in 5 or more"),
        (["colorizer", "--video", "{tmp}/tiny.avi"], 3, "frames of 8x8"),
        (["recognizer", "--coco", "{tmp}/absent.json", "--images", "{images}"], 3, "cannot read the annotations"),
        (["recognizer", "--coco", "{tmp}/list.txt", "--images", "{images}"], 3, "not COCO detection JSON"),
        (["recognizer", "--coco", "{tmp}/other.json", "--images", "{images}"], 3, "not COCO detection JSON"),
        (["recognizer", "--coco", "{tmp}/fish.json", "--images", "{images}"], 3, "no label in common"),
        (["recognizer", "--coco", "{coco}", "--images", "{tmp}/absent"], 3, "absent: no such folder"),
        (["recognizer", "--coco", "{coco}", "--images", "{tmp}/empty"], 3, "none of the 3 images can be used"),
        (["recognizer", "--coco", "{coco}", "--images", "{images}", "--only", "{tmp}/absent"], 3, "read the list"),
        (["recognizer", "--coco", "{coco}", "--images", "{images}", "--only", "{tmp}/list.txt"], 3, "in the list"),
        (["recognizer", "--coco", "{coco}", "--images", "{images}", "--curves", "{tmp}/no/c.png"], 2, "no folder"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    code: int,
    message: str,
    images: list[Path],
    coco: Path,
    tiny: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_bad_input(tmp_path)
    filled = [a.format(tmp=tmp_path, images=images[0].parent, coco=coco) for a in arguments]
    got, line = complaint_of(capsys, "evaluate", *filled, "--bundle", tiny, "--out", tmp_path / "out.json")
    assert got == code and message in line
    assert not (tmp_path / "out.json").exists()


def write_bad_input(folder: Path) -> None:
    for name in ("empty", "broken", "lonely"):
        (folder / name).mkdir()
    (folder / "broken" / "x.jpg").write_bytes(b"no picture")
    cv2.imwrite(str(folder / "lonely" / "a_nir.png"), np.zeros((8, 8), np.uint8))
    (folder / "list.txt").write_text("absent.jpg\n")
    (folder / "other.json").write_text('{"images": [{"file": "a.jpg"}]}')
    fish = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [], "categories": [{"id": 1, "name": "fish"}]}
    (folder / "fish.json").write_text(json.dumps(fish))
    write_video(folder / "short.mp4", frames=3)
    write_video(folder / "tiny.avi", frames=6, width=8, height=8)


def test_a_result_may_name_a_file_whose_name_is_no_unicode(tmp_path: Path) -> None:
    write_json(tmp_path / "result.json", {"file": "caf\udce9.jpg"})
    assert json.loads((tmp_path / "result.json").read_bytes()) == {"file": "caf?.jpg"}


@pytest.mark.parametrize("out", ["{tmp}", "{tmp}/no/out.json"])
def test_an_unwritable_result_is_told_before_the_work(
    out: str, images: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "colorizer", "--bundle", str(tmp_path / "absent"), "--images", str(images[0].parent)]
    code, line = complaint_of(capsys, *command, "--out", out.format(tmp=tmp_path))
    assert code == 2 and "folder" in line


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--bundle", "{tmp}"], 4, "give the folder of a model bundle"),
        (["--bundle", "{demo}", "--precision", "fp32"], 4, "has no fp32 context: choose precision auto or int8"),
        (["--bundle", "{demo}", "--context-weights", "x"], 2, "--context-weights belongs to --checkpoint"),
        (["--checkpoint", "{runs}/colorizer", "--precision", "int8"], 2, "--precision belongs to --bundle"),
        (["--checkpoint", "{tmp}"], 3, "cannot read the checkpoint's card"),
        (["--checkpoint", "{runs}/recognizer"], 3, "a checkpoint of the recognizer"),
        (["--checkpoint", "{tmp}/inception"], 2, "--context-weights FILE"),
    ],
)
def test_a_model_that_cannot_be_used_is_one_line(
    arguments: list[str],
    code: int,
    message: str,
    images: list[Path],
    runs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(runs / "colorizer", tmp_path / "inception")
    card = json.loads((tmp_path / "inception" / "card.json").read_text()) | {"context": "inception_resnet_v2"}
    (tmp_path / "inception" / "card.json").write_text(json.dumps(card))
    filled = [a.format(tmp=tmp_path, demo=DEMO_BUNDLE, runs=runs) for a in arguments]
    command = ["evaluate", "colorizer", "--images", images[0].parent, "--out", tmp_path / "out.json"]
    got, line = complaint_of(capsys, *command, *filled)
    assert got == code and message in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bundle", "x", "--precision", "fp8"], "argument --precision: invalid choice: 'fp8'"),
        (["--bundle", "x", "--checkpoint", "y"], "not allowed with argument"),
        ([], "one of the arguments --checkpoint --bundle is required"),
    ],
)
def test_a_wrong_command_line_is_refused(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", "colorizer", "--images", "x", "--out", str(tmp_path / "o.json"), *arguments])
    assert message in capsys.readouterr().err.splitlines()[-1]
