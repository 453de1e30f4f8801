"""Runs that were stopped and resumed are as if they had not been, to the last bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from training.__main__ import main
from training.checkpoint import STATE, read_card, read_tensors
from training.learning.curves import CURVES
from training.learning.journal import SAMPLES


def assert_same_state(one: Path, other: Path) -> None:
    states = read_tensors(one / STATE), read_tensors(other / STATE)
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


def test_two_halves_make_a_whole(colorizer: list[str], tmp_path: Path) -> None:
    common = [*colorizer, "--schedule", "paper"]  # whose rate does not depend on the number of steps
    assert main([*common, "--steps", "2"]) == 0
    half = [*common, "--out", str(tmp_path / "half"), "--workers", "1"]
    assert main([*half, "--steps", "1"]) == 0
    assert main([*half, "--steps", "2", "--resume"]) == 0
    assert_same_state(tmp_path / "run", tmp_path / "half")


def test_ctrl_c_saves_and_the_resumed_run_is_as_if_it_had_not_been(recognizer: list[str], tmp_path: Path) -> None:
    common, run = [*recognizer, "--variant", "paper"], tmp_path / "run"  # has dropout, and a rate without an end
    command = [sys.executable, "-m", "training", *common, "--steps", "100000", "--save-every", "2", "--workers", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        deadline = time.monotonic() + 90
        while not (run / STATE).exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the readers hear it too
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in error and error.endswith("stopped; continue with --resume\n")
    assert (run / CURVES).exists() and (run / SAMPLES).exists()
    steps = str(read_card(run).step + 2)
    assert main([*common, "--steps", steps, "--resume"]) == 0
    assert main([*common, "--steps", steps, "--out", str(tmp_path / "whole")]) == 0
    assert_same_state(run, tmp_path / "whole")
