"""A step's process: what becomes of one that is right, wrong, crashes, hangs, or never starts."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from tests.gpu_check.figures import Figures, NotHereError, reason_of
from tests.gpu_check.running import ROOT, Runner, Step

LIMIT_S = 60.0
# Functions of a part that stands in for the real ones: each does one thing that a step can do.
PART = """
import os, subprocess, sys, time
from pathlib import Path
from edge.errors import TapetumError
from tests.gpu_check.figures import NotHereError

def right(figures, *words): figures["said"] = " ".join(words)
def wrong(figures): figures["before"] = 1; raise ValueError("off by\\n two")
def user(figures): raise TapetumError("no GPU: see nvidia-smi")
def lacks(figures): raise NotHereError("no such tool")
def faults(figures): figures["before"] = 1; print("last words", flush=True); os.abort()
def leaves(figures): print("gone"); sys.stdout.flush(); os._exit(7)
def parts(figures):
    for name in ("a", "b", "c"):
        with figures.going_on(name):
            if name == "b": raise ValueError("broken")
            figures[name] = 1
def hangs(figures, file):
    figures["before"] = 1
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(file).write_text(str(child.pid))
    time.sleep(600)
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs a function of the stand-in, which lies where Python looks for parts."""
    package = tmp_path / "tests" / "gpu_check" / "parts"
    package.mkdir(parents=True)
    (package / "stand_in.py").write_text(PART)
    start = f"import tests.gpu_check.parts as p; p.__path__.append({str(package)!r})"
    child = f"import runpy; {start}; runpy.run_module('tests.gpu_check.child', run_name='__main__')"
    launcher = tmp_path / "python"
    launcher.write_text(f'#!/bin/sh\nshift 2\nexec "{sys.executable}" -c "{child}" "$@"\n')
    launcher.chmod(0o755)

    def run_step(function: str, *arguments: str, limit_s: float = LIMIT_S):
        runner = Runner(tmp_path / "logs", (str(launcher),), os.environ | {"PYTHONPATH": str(ROOT)})
        return runner.run(Step(f"a/{function}", "stand_in", function, arguments), limit_s)

    return run_step


def test_one_that_is_right(run, tmp_path):
    outcome = run("right", "two", "words")
    assert (outcome.status, outcome.reason, outcome.figures) == ("ok", "", {"said": "two words"})
    assert (tmp_path / "logs" / "a-right.log").exists()


def test_an_error_is_told_in_one_line_and_what_was_found_before_stays(run):
    outcome = run("wrong")
    assert (outcome.status, outcome.reason) == ("failed", "ValueError: off by two")
    assert outcome.figures == {"before": 1}


def test_an_error_for_people_is_told_as_it_is(run):
    assert run("user").reason == "no GPU: see nvidia-smi"


def test_what_the_machine_lacks_is_no_failure(run):
    outcome = run("lacks")
    assert (outcome.status, outcome.reason, outcome.is_failure) == ("skipped", "no such tool", False)


def test_one_of_several_fails_and_the_others_are_measured(run):
    outcome = run("parts")
    assert (outcome.status, outcome.reason) == ("failed", "b: ValueError: broken")
    assert outcome.figures == {"a": 1, "c": 1}


def test_a_crash_names_the_signal_and_the_last_words(run):
    outcome = run("faults")
    assert outcome.status == "failed"
    assert outcome.reason.startswith("killed by SIGABRT: last words")
    assert outcome.figures == {"before": 1}


def test_an_exit_is_a_failure_too(run):
    assert run("leaves").reason == "exit code 7: gone"


def test_a_function_that_is_not_there(run):
    assert "AttributeError" in run("none").reason


def test_one_that_hangs_is_killed_with_all_that_it_started(run, tmp_path):
    file = tmp_path / "pid"
    started_s = time.monotonic()
    outcome = run("hangs", str(file), limit_s=4.0)
    assert (outcome.status, outcome.reason, outcome.figures) == ("timed out", "ended after 4 s", {"before": 1})
    assert time.monotonic() - started_s < LIMIT_S
    state = Path(f"/proc/{file.read_text()}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_python_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):  # the kit's own: nothing can be measured
        Runner(tmp_path, ("/no/python",)).run(Step("a", "kernel", "correct"), LIMIT_S)


def test_figures_are_on_disk_at_once(tmp_path):
    file = tmp_path / "figures.json"
    figures = Figures(file)
    figures["a"] = [1, 2]
    with figures.going_on("b"):
        raise NotHereError("no b")
    assert json.loads(file.read_text()) == {"figures": {"a": [1, 2]}, "reasons": [], "skipped": ["b: no b"]}


def test_ctrl_c_is_not_swallowed(tmp_path):
    with pytest.raises(KeyboardInterrupt), Figures(tmp_path / "f.json").going_on():
        raise KeyboardInterrupt


def test_a_reason_is_one_line():
    assert reason_of(RuntimeError("a\n  b")) == "RuntimeError: a b"
