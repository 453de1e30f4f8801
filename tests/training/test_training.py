"""Loop, checkpoint and command line, on tiny data."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from edge.errors import InputError
from tests.training.photographs import write_coco, write_photographs
from training.__main__ import HELD_OUT, main
from training.checkpoint import CARD, MODEL, STATE, Card, load_network, read_card, read_tensors, save_weights
from training.data.photographs import is_held_out
from training.loop import NonFiniteLossError, Schedule, Training, train
from training.models.colorizer import Colorizer
from trt_build import graphs


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.slow, self.fast = nn.Linear(4, 4), nn.Linear(4, 1)


def tiny_losses(network: Tiny, step: int) -> dict[str, torch.Tensor]:
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
    return {"squared": (network.fast(network.slow(x)) - x.sum(1, keepdim=True)).square().mean()}


def tiny_training(seed: int = 0) -> tuple[Tiny, Training]:
    torch.manual_seed(seed)
    network = Tiny()
    return network, Training(network, network.slow, Schedule(steps=20, warm_up=3, learning_rate=0.01))


def test_resuming_gives_the_same_losses(tmp_path: Path) -> None:
    network, whole = tiny_training()
    expected = [whole.update(tiny_losses(network, step)) for step in range(20)]
    network, first = tiny_training()
    for step in range(9):
        first.update(tiny_losses(network, step))
    first.save(tmp_path, Card("colorizer"))
    network, second = tiny_training(seed=5)
    second.resume(tmp_path)
    got = [second.update(tiny_losses(network, step)) for step in range(9, 20)]
    assert got == pytest.approx(expected[9:], abs=1e-7)
    assert expected[-1] < expected[0]


def test_a_non_finite_loss_stops_and_changes_nothing(tmp_path: Path) -> None:
    network, training = tiny_training()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with pytest.raises(NonFiniteLossError, match=r"step 0.*nan"):
        training.update({"bad": network.fast.weight.sum() * float("nan")})
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_a_finite_loss_with_an_infinite_gradient_changes_nothing() -> None:
    network, training = tiny_training()
    training.update(tiny_losses(network, 0))
    before = {k: v.clone() for k, v in network.state_dict().items()}
    total = network.fast.weight.sum()
    with pytest.raises(NonFiniteLossError, match=r"step 1: the gradient is not finite"):
        training.update({"root": (total - total.detach()).sqrt()})  # 0, and steep without end
    assert training.step == 1
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_a_spoilt_network_is_not_saved_over_the_last_checkpoint(tmp_path: Path) -> None:
    network, _ = tiny_training()
    training = Training(network, network.slow, Schedule(steps=20, warm_up=3, save_every=5))

    def spoilt(step: int) -> dict[str, torch.Tensor]:
        if step == 7:
            torch.nn.init.constant_(network.fast.weight, float("nan"))
        return tiny_losses(network, step)

    with pytest.raises(NonFiniteLossError, match="step 7"):
        train(training, iter(range(100)), spoilt, Card("colorizer"), tmp_path)
    assert read_card(tmp_path).step == 5
    for file in (MODEL, STATE):
        assert all(torch.isfinite(tensor).all() for tensor in read_tensors(tmp_path / file).values())


def test_the_loop_saves_at_its_end_and_on_interrupt(tmp_path: Path) -> None:
    network, training = tiny_training()

    def interrupted(step: int) -> dict[str, torch.Tensor]:
        if step == 7:
            raise KeyboardInterrupt
        return tiny_losses(network, step)

    with pytest.raises(KeyboardInterrupt):
        train(training, iter(range(100)), interrupted, Card("colorizer"), tmp_path)
    assert read_card(tmp_path).step == 7
    train(training, iter(range(100)), lambda s: tiny_losses(network, s), Card("colorizer"), tmp_path)
    assert read_card(tmp_path).step == 20


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    network = Colorizer()
    save_weights(tmp_path, network.state_dict(), Card("colorizer", input_size=256))
    again, card = load_network(tmp_path, "colorizer")
    assert card.input_size == 256
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in network.state_dict().items())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / CARD).unlink(), "cannot read the checkpoint's card"),
        (lambda d: (d / CARD).write_text("{"), "not a checkpoint's card"),
        (lambda d: (d / CARD).write_text('{"network": "colorizer", "schema": 99}'), "card schema 99"),
        (lambda d: (d / CARD).write_text('{"network": "colorizer", "variant": "x"}'), "unknown variant"),
        (lambda d: (d / CARD).write_text('{"network": "recognizer"}'), "not of the colorizer"),
        (lambda d: (d / MODEL).write_bytes(b"garbage"), "cannot read the checkpoint"),
        (lambda d: (d / MODEL).unlink(), "cannot read the checkpoint"),
    ],
)
def test_a_damaged_checkpoint_is_one_clear_error(tmp_path: Path, damage: object, message: str) -> None:
    save_weights(tmp_path, Colorizer().state_dict(), Card("colorizer"))
    damage(tmp_path)  # type: ignore[operator]
    with pytest.raises(InputError, match=message):
        load_network(tmp_path, "colorizer")


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_weights(tmp_path, Colorizer().state_dict(), Card("colorizer"))
    before = (tmp_path / MODEL).read_bytes()

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(InputError, match="No space left"):
        save_weights(tmp_path, Colorizer().state_dict(), Card("colorizer"))
    assert (tmp_path / MODEL).read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == [CARD, MODEL]


def test_both_networks_train_from_the_command_line(tmp_path: Path) -> None:
    files = write_photographs(tmp_path / "images", 12)
    coco = write_coco(tmp_path / "coco.json", files)
    common = ["--batch", "2", "--steps", "3", "--workers", "0"]
    run = tmp_path / "recognizer"
    arguments = ["recognizer", "--coco", str(coco), "--images", str(tmp_path / "images"), "--input-size", "128"]
    assert main([*arguments, "--out", str(run), *common]) == 0
    card = json.loads((run / CARD).read_text())
    assert card["labels"] == ["cat", "dog"] and card["step"] == 3
    assert (run / STATE).exists()
    assert main([*arguments, "--out", str(run), *common]) == 2  # a run is not overwritten
    assert main([*arguments, "--out", str(run), "--resume", *common]) == 0
    run = tmp_path / "colorizer"
    arguments = ["colorizer", "--images", str(tmp_path / "images"), "--crop-px", "64"]
    assert main([*arguments, "--out", str(run), *common]) == 0
    load_network(run, "colorizer")


def test_the_card_keeps_the_command_without_this_machines_folders(tmp_path: Path) -> None:
    write_photographs(tmp_path / "images", 12)
    run = tmp_path / "run"
    arguments = ["colorizer", "--images", f"{tmp_path}/images/", f"--out={run}", "--crop-px", "64", "--nir=0.4"]
    assert main([*arguments, "--batch", "2", "--steps", "1", "--workers", "0"]) == 0
    expected = "colorizer --images images --out=run --crop-px 64 --nir=0.4 --batch 2 --steps 1 --workers 0"
    assert read_card(run).command == f"tapetum-train {expected}"


def test_held_out_photographs_are_listed_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_photographs(tmp_path / "images", 30)
    monkeypatch.chdir(tmp_path)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("training.__main__.train", interrupted)
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


def test_ctrl_c_saves_and_leaves(tmp_path: Path) -> None:
    write_photographs(tmp_path / "images", 12)
    run = tmp_path / "run"
    command = [sys.executable, "-m", "training", "colorizer", "--images", str(tmp_path / "images")]
    command += ["--out", str(run), "--crop-px", "64", "--batch", "2", "--workers", "0", "--steps", "100000"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not (run / "log.jsonl").exists() or not (run / "log.jsonl").stat().st_size:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in error
    assert read_card(run).step >= 50
