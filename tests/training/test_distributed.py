"""Several processes train as one does: real processes, gloo, one CPU."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, nn

from edge.errors import InputError
from tests.training.photographs import write_photographs
from training.__main__ import main
from training.checkpoint import STATE, read_card, read_tensors
from training.learning.batch_norm import share_batch_norm
from training.learning.curves import LOG
from training.learning.ranks import PeerError, Ranks

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "training"]
WORLD = 2


def colorizer(images: Path, out: Path, **options: int) -> list[str]:
    options = {"batch": 4, "workers": 0, "threads": 1} | options
    given = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    return ["colorizer", "--images", str(images), "--out", str(out), "--crop-px", "64", *given]


def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    write_photographs(tmp_path / "images", 12)
    done = subprocess.run(
        [*TORCHRUN, *colorizer(tmp_path / "images", tmp_path / "two", steps=2)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("saved ") == 1
    assert len((tmp_path / "two" / LOG).read_text().splitlines()) == 1
    assert len(list((tmp_path / "two").glob("events.*"))) == 1
    assert main(colorizer(tmp_path / "images", tmp_path / "one", steps=2)) == 0
    one, two = (read_tensors(tmp_path / run / STATE) for run in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-5, msg=name)
    losses = [read_card(tmp_path / run).metrics["training_loss"] for run in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def normalised(network: nn.Module, x: Tensor) -> Tensor:
    y: Tensor = network(x)
    return (y * torch.linspace(0, 1, y.shape[1])).square().flatten(1).sum(1).mean()


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 5), nn.BatchNorm1d(5))


def in_each_process(rank: int, rendezvous: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=WORLD)
    ranks = Ranks(rank, WORLD)
    batch_normalisation_sees_the_global_batch(ranks)
    what_one_meets_all_hear_of(ranks)
    distributed.destroy_process_group()
    os._exit(0)  # as training.__main__ does, and says why


def batch_normalisation_sees_the_global_batch(ranks: Ranks) -> None:
    x = torch.randn(8, 2, 6, 6, generator=torch.Generator().manual_seed(1)) * 3 + 1
    whole, split = small(), small()
    expected = normalised(whole, x)
    expected.backward()
    share_batch_norm(split)
    shared = ranks.share(split, torch.device("cpu"))
    loss = normalised(shared, x[ranks.rank * 4 :][:4])
    loss.backward()
    assert ranks.mean(loss[None])[0] == pytest.approx(expected.item(), rel=1e-5)
    for (name, one), (_, other) in zip(whole.named_parameters(), split.named_parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-4, atol=1e-4, msg=name)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(split.state_dict()[name], value, msg=name)
    torch.testing.assert_close(split.eval()(x), whole.eval()(x))


def what_one_meets_all_hear_of(ranks: Ranks) -> None:
    assert ranks.mean(torch.tensor([float(ranks.rank), 5.0])) == [0.5, 5.0]
    assert ranks.any(ranks.rank == 1) and not ranks.any(False)
    assert ranks.gathered(str(ranks.rank)) == (["0", "1"] if ranks.first else [])
    with ranks.together():
        pass
    with pytest.raises(PeerError if ranks.first else InputError), ranks.together():
        if not ranks.first:
            raise InputError("photo.jpg: not a readable image")
    with pytest.raises(InputError if ranks.first else PeerError), ranks.together():
        raise InputError("both")


def test_processes_agree(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(in_each_process, (str(tmp_path / "rendezvous"),), nprocs=WORLD)  # raises what they do


@pytest.mark.slow
def test_an_error_is_told_once(tmp_path: Path) -> None:
    write_photographs(tmp_path / "images", 12)
    command = [*TORCHRUN, *colorizer(tmp_path / "images", tmp_path / "run", batch=3)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("tapetum-train")]
    assert said == ["tapetum-train: --batch 3 cannot be shared evenly by 2 processes"]


@pytest.mark.slow
def test_ctrl_c_saves_and_a_resumed_run_goes_on(tmp_path: Path) -> None:
    write_photographs(tmp_path / "images", 12)
    run = tmp_path / "run"
    command = [*TORCHRUN, *colorizer(tmp_path / "images", run, steps=10**6), "--save-every", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        wait_for_checkpoint(process, run)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, error = process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode != 0
    assert [line for line in error.splitlines() if line.startswith("tapetum-train")] == [
        "tapetum-train: finishing the step and saving",
        "tapetum-train: stopped; continue with --resume",
    ]
    steps = read_card(run).step
    assert steps >= 2
    assert main([*colorizer(tmp_path / "images", run, steps=steps + 1), "--resume"]) == 0
    assert read_card(run).step == steps + 1


def wait_for_checkpoint(process: subprocess.Popen[str], run: Path) -> None:
    deadline = time.monotonic() + 90
    while not (run / STATE).exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
