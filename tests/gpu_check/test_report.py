"""The document: its form, its name, and the command that writes it, here where every step has a reason to fail."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from tests.gpu_check import __main__ as command
from tests.gpu_check import report
from tests.gpu_check.plan import TOTAL_S, plan
from tests.gpu_check.running import ROOT, Outcome, Step

SCHEMA = {
    "type": "object",
    "required": ["schema", "command", "date", "machine", "gpu", "clocks", "versions", "failed", "steps"],
    "additionalProperties": False,
    "properties": {
        "schema": {"const": 1},
        "command": {"const": "make gpu-check"},
        "date": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$"},
        "machine": {"type": "string"},
        "gpu": {"type": ["object", "null"]},
        "clocks": {"type": "object", "required": ["before", "after"]},
        "versions": {"type": "object", "required": ["python"]},
        "failed": {"type": "array", "items": {"type": "string"}},
        "steps": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["status", "seconds", "figures"],
                "additionalProperties": False,
                "properties": {
                    "status": {"enum": ["ok", "skipped", "failed", "timed out", "not run"]},
                    "seconds": {"type": "number", "minimum": 0},
                    "reason": {"type": "string", "minLength": 1, "pattern": "^[^\n]*$"},
                    "clocks": {"type": "object"},
                    "figures": {"type": "object"},
                },
            },
        },
    },
}
MACHINE = Outcome(
    "ok", 1, figures={"gpu": {"name": "NVIDIA H200"}, "versions": {"python": "3.12.3", "torch": "2.11"}}
)


def test_what_the_machine_told_stands_at_the_top():
    clocks = {"before": {"sm_mhz": 345.0}, "a": {"sm_mhz": 1980.0}, "after": {"sm_mhz": 345.0}}
    outcomes = {"machine": MACHINE, "a": Outcome("ok", 2, figures={"x": 1}), "b": Outcome("failed", 1, "why")}
    found = report.document(outcomes, clocks)
    jsonschema.validate(found, SCHEMA)
    assert found["versions"] == {"python": "3.12.3", "torch": "2.11"}
    assert found["failed"] == ["b"]
    assert found["steps"]["a"] == {"status": "ok", "seconds": 2, "clocks": clocks["a"], "figures": {"x": 1}}
    assert report.file_name(found) == "gpu-nvidia-h200.json"


def test_steps_of_an_earlier_run_are_kept():
    first = report.document({"machine": MACHINE, "a": Outcome("failed", 1, "why"), "b": Outcome("ok", 1)}, {})
    second = report.document({"machine": MACHINE, "a": Outcome("ok", 2)}, {})
    both = report.added(first, second)
    jsonschema.validate(both, SCHEMA)
    assert both["failed"] == []
    assert {name: step["seconds"] for name, step in both["steps"].items()} == {"machine": 1, "a": 2, "b": 1}


def test_folders_of_the_machine_are_not_told():
    reason = f"{ROOT}/edge/x.py and {Path.home()}/y"
    found = report.document({"a": Outcome("failed", 1, reason)}, {})
    assert found["steps"]["a"]["reason"] == "edge/x.py and y"


def test_clocks_that_are_not_known_are_left_out():
    line = "1980, 3201, 1980, 3201, 690.12, 700.00, [N/A]\n"
    assert report.parse_clocks(line) == {
        "sm_mhz": 1980,
        "memory_mhz": 3201,
        "sm_max_mhz": 1980,
        "memory_max_mhz": 3201,
        "power_w": 690.12,
        "power_limit_w": 700,
    }


def test_the_table_has_a_line_for_each_step():
    lines = report.table(report.document({"machine": MACHINE, "b": Outcome("failed", 1, "why")}, {}))
    assert len(lines) == 2
    assert re.match(r"b +failed +1\.0 s  why$", lines[1])


def test_the_plan_names_functions_that_are_there_and_no_step_twice():
    steps = plan()
    assert len({step.name for step in steps}) == len(steps)
    for step in steps:
        source = (ROOT / "tests" / "gpu_check" / "parts" / f"{step.part}.py").read_text()
        signature = re.search(rf"^def {step.function}\(([^)]*)\)", source, re.MULTILINE)
        assert signature, step
        parameters = [text for text in signature[1].split(",") if "=" not in text]
        assert len(parameters) == 1 + len(step.arguments), step
        assert step.limit_s <= 300
    assert TOTAL_S < 20 * 60


class _Runner:
    """Keeps the limits it was given; each step takes no time here, so the command's clock is what is set."""

    def __init__(self) -> None:
        self.limits: dict[str, float] = {}

    def run(self, step: Step, limit_s: float) -> Outcome:
        self.limits[step.name] = limit_s
        return Outcome("ok", 0)


def test_no_step_takes_longer_than_what_is_left(monkeypatch):
    now = iter([0.0, 10.0, 90.0, 100.0])
    monkeypatch.setattr(command.time, "monotonic", lambda: next(now))
    steps = [Step("a", "p", "f", limit_s=60), Step("b", "p", "f", limit_s=60), Step("c", "p", "f", limit_s=60)]
    runner, saved = _Runner(), []
    found = command.run_all(steps, runner, 100.0, saved.append)
    assert runner.limits == {"a": 60, "b": 10}
    assert found["steps"]["c"] == {
        "status": "not run",
        "seconds": 0,
        "reason": "the 100 s of the whole run were over",
        "figures": {},
    }
    assert [len(each["steps"]) for each in saved] == [1, 2, 3]


def test_the_command_without_a_gpu(tmp_path, monkeypatch):
    """The steps of the kernel and the frame: each fails with its reason, the others go on, the exit code tells."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # also where there is one
    arguments = ["--out", str(tmp_path), "--only", "kernel/correct", "kernel/speed", "prepare/field"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.gpu_check", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    (file,) = tmp_path.glob("gpu-*.json")
    found = json.loads(file.read_text())
    jsonschema.validate(found, SCHEMA)
    assert list(found["steps"]) == ["machine", "kernel/correct", "kernel/speed", "prepare/field"]
    assert found["failed"] == list(found["steps"])
    for step in found["steps"].values():
        assert re.search("GPU|pycuda|CUDA", step["reason"]), step
    assert done.stdout.endswith("4 of 4 steps failed\n")


@pytest.mark.parametrize("kit", ["nowhere", "."])
def test_a_kit_that_is_none(tmp_path, kit, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command.main(["--kit", kit]) == 3
    assert "bring part-01 of what `make gpu-kit` made" in capsys.readouterr().err
