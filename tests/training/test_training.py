"""The commands `recognizer` and `colorizer`, on tiny data."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch
from safetensors import safe_open
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training.conftest import TINY
from tests.training.photographs import write_coco, write_photographs
from training.__main__ import main
from training.checkpoint import (
    MODEL,
    STATE,
    Card,
    build_network,
    load_network,
    read_card,
    save_weights,
    write_tensors,
)
from training.data.split import is_held_out
from training.learning.curves import CURVES, read_log
from training.learning.journal import SAMPLES
from training.learning.loop import BAD_BATCH
from training.learning.start import SHIPPED
from training.learning.tasks import HELD_OUT
from training.tiles import GAP_PX
from trt_build import graphs


def test_a_recognizer_is_trained_resumed_and_fine_tuned(
    recognizer: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "run"
    caplog.set_level(logging.INFO)
    assert main([*recognizer, "--steps", "2", "--repeat", "dog=2"]) == 0
    _, card = load_network(run, "recognizer", "field")
    assert (card.labels, card.step, card.samples, card.input_size) == (["cat", "dog"], 2, 4, 128)
    assert card.context == "" and len(card.data["sha256"]) == 64 and card.metrics["training_loss"] > 0
    sheet = cv2.imread(str(run / SAMPLES))
    assert sheet is not None and sheet.shape[1] == 2 * 576 + 3 * GAP_PX  # the photographs' 4:3, twice
    assert main([*recognizer, "--steps", "2"]) == 2  # a run is not overwritten
    assert main([*recognizer, "--steps", "3", "--resume"]) == 0
    assert read_card(run).step == 3

    coco = Path(recognizer[2])
    coco.write_text(coco.read_text().replace('"cat"', '"cow"'))
    assert main([*recognizer, "--steps", "4", "--resume"]) == 3  # other labels
    fine = [*recognizer, "--out", str(tmp_path / "fine"), "--init", str(run), "--steps", "1", "--precision", "bf16"]
    assert main(fine) == 0
    assert "knows other labels: class_logits start anew" in caplog.text
    assert read_log(tmp_path / "fine")[1]["learning_rate"] == pytest.approx(3e-4)


def test_a_site_s_colorizer_starts_from_the_weights_that_ship(colorizer: list[str], tmp_path: Path) -> None:
    shipped, _ = load_network(SHIPPED / "colorizer", "colorizer", "field")
    drift = {}
    for init, given in (("shipped", []), ("imagenet", ["--init", "imagenet"])):
        out = tmp_path / init
        assert main([*colorizer, "--steps", "1", *given, "--out", str(out)]) == 0
        network, card = load_network(out, "colorizer")
        assert card.data["init"] == init
        drift[init] = (network.get_parameter("ab.weight") - shipped.get_parameter("ab.weight")).abs().max().item()
    assert drift["shipped"] < 1e-3 < drift["imagenet"]


def test_no_weights_of_the_recognizer_ship(recognizer: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*recognizer, "--init", "shipped"]) == 2
    assert "no weights of the recognizer ship" in capsys.readouterr().err


def test_a_colorizer_is_trained(colorizer: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main([*colorizer, "--steps", "3", "--context", "efficientnet_lite2", "--save-every", "2"]) == 0
    _, card = load_network(run, "colorizer", "field")
    assert (card.context, card.samples) == ("efficientnet_lite2", 6)
    sheet, curves = (cv2.imread(str(run / name)) for name in (SAMPLES, CURVES))
    assert sheet is not None and sheet.shape[1] == 3 * 384 + 4 * GAP_PX and curves is not None
    board = EventAccumulator(str(run)).Reload()
    assert [event.step for event in board.Scalars("loss/colour")] == [2, 3]
    assert [event.step for event in board.Images("samples")] == [2, 3]


@pytest.mark.slow
def test_a_network_that_classifies_colours_trains(colorizer: list[str], tmp_path: Path) -> None:
    assert main([*colorizer, "--variant", "zhang", "--steps", "1"]) == 0
    load_network(tmp_path / "run", "colorizer", "zhang")


def test_a_list_of_photographs(
    images: Path,
    colorizer: list[str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("# the site's\nimages/gone.jpg\n" + "".join(f"{f}\n" for f in images.iterdir()))
    common = ["colorizer", "--list", str(listed), *colorizer[3:], "--steps", "1"]
    assert main(common) == 0
    assert f"{listed}: 1 of its 13 images are missing: {tmp_path}/images/gone.jpg" in caplog.text
    card = read_card(tmp_path / "run")
    assert card.data["images"] + card.data["held_out"] == 12
    listed.write_text("gone.jpg\naway.jpg\n")
    assert main([*common, "--out", str(tmp_path / "other")]) == 3
    assert "2 of its 2 images are missing" in capsys.readouterr().err.splitlines()[-1]
    assert main([*common, "--list", str(tmp_path / "no.txt"), "--out", str(tmp_path / "other")]) == 3
    assert "cannot read the list" in capsys.readouterr().err.splitlines()[-1]


def test_a_loss_that_is_not_finite_is_one_line(
    colorizer: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "weights"
    card = Card("colorizer")
    save_weights(weights, {k: v * float("nan") for k, v in build_network(card).state_dict().items()}, card)
    assert main([*colorizer, "--init", str(weights), "--steps", "3"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("tapetum-train: step 0: the loss is not finite (colour nan)") and BAD_BATCH in last
    with safe_open(tmp_path / "run" / BAD_BATCH, "pt") as saved:
        shapes = [tuple(saved.get_tensor(name).shape) for name in sorted(saved.keys())]
    assert shapes == [(2, 1, 64, 64), (2, 1, 224, 224), (2, 2, 32, 32)]
    assert not (tmp_path / "run" / MODEL).exists()


def test_a_checkpoint_of_another_network_or_variant_is_one_line(
    colorizer: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    save_weights(other, {"a": torch.zeros(1)}, Card("recognizer", labels=["cat"], input_size=128))
    assert main([*colorizer, "--init", str(other)]) == 3
    assert f"{other}: a checkpoint of the recognizer, not of the colorizer" in capsys.readouterr().err
    save_weights(other, {"a": torch.zeros(1)}, Card("colorizer", "paper"))
    assert main([*colorizer, "--init", str(other)]) == 3
    assert f"{other}: a colorizer of variant paper: add --variant paper" in capsys.readouterr().err
    save_weights(tmp_path / "run", {"a": torch.zeros(1)}, Card("colorizer", "paper"))
    write_tensors(tmp_path / "run" / STATE, {"step": torch.tensor(1)})
    assert main([*colorizer, "--resume"]) == 3
    assert "variant paper" in capsys.readouterr().err


def test_a_run_with_another_context_network_is_not_resumed(
    colorizer: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = Card("colorizer", context="efficientnet_lite2")
    save_weights(tmp_path / "run", {"a": torch.zeros(1)}, card)
    write_tensors(tmp_path / "run" / STATE, {"step": torch.tensor(1)})
    assert main([*colorizer, "--resume"]) == 3
    assert "add --context efficientnet_lite2" in capsys.readouterr().err


def test_weights_that_cannot_be_resumed_are_not_overwritten(
    colorizer: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_weights(tmp_path / "run", {"a": torch.zeros(1)}, Card("colorizer"))
    assert main(colorizer) == 2
    assert "holds weights without" in capsys.readouterr().err


def test_resuming_keeps_what_the_card_knows(colorizer: list[str], tmp_path: Path) -> None:
    common = [*colorizer, "--steps", "1", "--variant", "field-no-context"]
    assert main(common) == 0
    before = read_card(tmp_path / "run")
    assert main([*common, "--resume", "--init", "elsewhere"]) == 0  # there is nothing left to do
    after = read_card(tmp_path / "run")
    assert (after.metrics, after.data) == (before.metrics, before.data) and after.metrics["training_loss"] > 0


def test_a_held_out_photograph_that_is_broken_costs_the_sheet_alone(
    images: Path, colorizer: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for file in images.iterdir():
        if is_held_out(file.name):
            file.write_bytes(b"broken")
            broken = file
    assert main([*colorizer, "--steps", "1"]) == 0
    assert f"{broken}: not an image, or cut short, not on the sample sheet" in caplog.text
    assert (tmp_path / "run" / CURVES).exists() and not (tmp_path / "run" / SAMPLES).exists()


def test_boxes_by_people_are_needed_where_only_they_count(
    recognizer: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coco = Path(recognizer[2])
    coco.write_text(coco.read_text().replace('"iscrowd"', '"source": "model", "score": 0.9, "iscrowd"'))
    assert main([*recognizer, "--boxed-only"]) == 3
    assert f"{coco}: people boxed nothing" in capsys.readouterr().err


def test_a_run_that_was_never_saved_cannot_be_resumed(
    colorizer: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*colorizer, "--resume"]) == 3
    run = Path(colorizer[4])
    assert capsys.readouterr().err == f"tapetum-train: {run}: no run to resume there: leave out --resume\n"
    assert not run.exists()


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (["--variant", "zhang"], 3, "a colorizer of variant field: add --variant field, or choose another --out"),
        (["--context", "efficientnet_lite2"], 3, "add --context efficientnet_lite0"),
        (["--steps", "2"], 2, "already has 6 steps: give --steps more than that"),
        (["--images", "empty"], 3, "no image"),
    ],
)
def test_a_refused_resume_leaves_the_run_as_it_was(
    change: list[str], code: int, message: str, colorizer: list[str], tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run = tmp_path / "run"
    save_weights(run, {"a": torch.zeros(1)}, Card("colorizer", step=6))
    write_tensors(run / STATE, {"step": torch.tensor(6)})
    (run / HELD_OUT).write_text("photo.jpg\n")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    before = {file.name: file.read_bytes() for file in run.iterdir()}
    assert main([*colorizer, "--resume", *change]) == code
    assert message in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in run.iterdir()} == before


def test_a_run_of_the_other_network_is_not_resumed(
    colorizer: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_weights(tmp_path / "run", {"a": torch.zeros(1)}, Card("recognizer", labels=["cat"], input_size=128))
    write_tensors(tmp_path / "run" / STATE, {"step": torch.tensor(1)})
    assert main([*colorizer, "--resume"]) == 3
    assert "not of the colorizer: choose another --out" in capsys.readouterr().err
    assert not (tmp_path / "run" / HELD_OUT).exists()


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (["--init", "nope"], 3, "--init nope: no such run: give a run folder, imagenet or shipped"),
        (["--init", str(SHIPPED / "colorizer"), "--variant", "paper"], 3, "or choose another --init"),
        (["--batch", "13"], 3, "fewer than --batch 13"),
        (["--context-weights", "half.png"], 3, "half.png: not a file of weights: not a state_dict"),
        (["--out", "half.png"], 2, "--out half.png: is a file: give a folder"),
    ],
)
def test_a_refused_run_leaves_no_folder(
    change: list[str], code: int, message: str, colorizer: list[str], tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("half.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert main([*colorizer, *change]) == code
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_folder_without_images_is_named(recognizer: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*recognizer, "--images", "nope"]) == 3
    assert capsys.readouterr().err == "tapetum-train: nope: no such folder\n"


def test_a_repeat_needs_a_label(recognizer: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([*recognizer, "--repeat", "dog"])
    assert "'dog' is not LABEL=TIMES" in capsys.readouterr().err


def test_ctrl_c_while_importing_is_one_line(
    colorizer: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("importlib.import_module", interrupted)
    assert main(colorizer) == 130
    assert capsys.readouterr().err == "tapetum-train: stopped\n"


def test_other_packages_tell_no_steps(tmp_path: Path) -> None:
    script = (
        "import logging, training.__main__ as m; m.main(['sheet', '--images', 'no', '--out', 'x.png']);"
        "logging.info('theirs'); logging.getLogger('training.x').info('ours')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "INFO: ours" in done.stderr and "theirs" not in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_cuda_without_a_gpu_is_one_line(colorizer: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*colorizer, "--device", "cuda"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("tapetum-train: --device cuda: PyTorch finds no usable GPU") and error.count("\n") == 1


def test_a_context_network_without_weights_is_one_line(
    colorizer: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*colorizer, "--context", "inception_resnet_v2"]) == 2
    error = capsys.readouterr().err
    assert "--context-weights" in error and error.count("\n") == 1


def test_the_card_keeps_the_command_without_this_machines_folders(images: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ["colorizer", "--images", f"{images}/", f"--out={run}", "--crop-px", "64", "--nir=0.4", *TINY]
    assert main([*arguments, "--steps", "1"]) == 0
    expected = (
        "colorizer --images images --out=run --crop-px 64 --nir=0.4 --batch 2 --workers 0 --threads 1 --steps 1"
    )
    assert read_card(run).command == f"tapetum-train {expected}"


def test_held_out_photographs_are_listed_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_photographs(tmp_path / "images", 30)
    monkeypatch.chdir(tmp_path)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("training.train.train", interrupted)
    assert main(["colorizer", "--images", "images", "--out", "run", "--batch", "2", "--workers", "0"]) == 130
    expected = [str(f) for f in files if is_held_out(f.name)]
    assert expected
    assert (tmp_path / "run" / HELD_OUT).read_text().splitlines() == expected
    assert graphs.list_images(tmp_path / "run" / HELD_OUT) == [Path(line) for line in expected]  # what `pack` reads


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--steps", "0"),
        ("--batch", "-1"),
        ("--workers", "-1"),
        ("--threads", "few"),
        ("--seed", "1.5"),
        ("--crop-px", "100"),
        ("--learning-rate", "nan"),
        ("--nir", "2"),
        ("--save-every", "0"),
    ],
)
def test_a_number_out_of_range_is_a_usage_error(
    option: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["colorizer", "--images", str(tmp_path), "--out", str(tmp_path / "run"), option, value])
    assert f"argument {option}: '{value}' is not a" in capsys.readouterr().err


@pytest.mark.parametrize("network", ["colorizer", "recognizer"])
def test_a_run_folder_that_cannot_be_made_is_one_line(
    network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coco = write_coco(tmp_path / "coco.json", write_photographs(tmp_path / "images", 4))
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "run"
    arguments = [network, "--images", str(tmp_path / "images"), "--out", str(out)]
    assert main(arguments + (["--coco", str(coco)] if network == "recognizer" else [])) == 1
    assert capsys.readouterr().err == f"tapetum-train: {out}: Not a directory\n"


def test_fewer_photographs_than_a_batch_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_photographs(tmp_path / "images", 4)
    assert main(["colorizer", "--images", str(tmp_path / "images"), "--out", str(tmp_path / "run")]) == 3
    assert "fewer than --batch 16" in capsys.readouterr().err


def test_wrong_arguments_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["colorizer", "--images", str(tmp_path), "--out", str(tmp_path / "run")]) == 3
    error = capsys.readouterr().err
    assert "no image" in error and error.count("\n") == 1
