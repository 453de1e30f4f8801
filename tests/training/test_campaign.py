"""`tapetum-train all`: what it would do, in which order, and (slow) that all of it runs."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.training.photographs import write_coco, write_photographs
from training import campaign
from training.__main__ import _parser, main
from training.checkpoint import CARD, STATE, Card

TRAININGS = [
    "colorizer-field",
    "recognizer-field",
    "recognizer-paper",
    "table2-field",
    "table2-paper",
    "table2-zhang",
    "table2-iizuka",
]


def options(folder: Path) -> argparse.Namespace:
    given = ["all", "--data", str(folder / "data"), "--out", str(folder / "runs"), "--profile", "smoke"]
    return _parser(given).parse_args(given)


def commands(folder: Path) -> dict[str, list[str]]:
    return dict(campaign.steps(options(folder), campaign.PROFILES["smoke"]))


def test_every_network_is_trained_before_anything_is_measured(tmp_path: Path) -> None:
    names = list(commands(tmp_path))
    assert names[: len(TRAININGS)] == TRAININGS
    assert names[-2:] == ["table 1", "table 2"]


def test_every_command_is_one_that_exists(tmp_path: Path) -> None:
    for command in commands(tmp_path).values():
        _parser(command).parse_args(command)  # exits on an option that there is not


def test_what_is_done_is_not_done_again_and_what_is_begun_is_resumed(tmp_path: Path) -> None:
    for name, step in (("colorizer-field", 1), ("table2-zhang", 0)):
        (tmp_path / "runs" / name).mkdir(parents=True)
        card = Card("colorizer", "field", step=step)
        (tmp_path / "runs" / name / CARD).write_text(json.dumps(asdict(card)))
        (tmp_path / "runs" / name / STATE).touch()
    assert next(iter(commands(tmp_path))) == "recognizer-field"
    assert "--resume" not in commands(tmp_path)["table2-zhang"]
    longer = campaign.Profile(**asdict(campaign.PROFILES["smoke"]) | {"colorizer": (5, 2)})
    resumed = dict(campaign.steps(options(tmp_path), longer))
    assert resumed["colorizer-field"][-1] == "--resume"


def test_data_laid_out_otherwise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["all", "--data", str(tmp_path), "--out", str(tmp_path / "runs")]) == 3
    assert "has no folder colorizer/train" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_all_of_it_runs(tmp_path: Path) -> None:
    """Some minutes."""
    write_photographs(tmp_path / "data/colorizer/train", 24)
    for part in ("train", "val"):
        files = write_photographs(tmp_path / "data/recognizer" / part, 24, seed=1 + len(part))
        coco = write_coco(tmp_path / f"data/recognizer/{part}.json", files)
        document = json.loads(coco.read_text())
        names = ("helmet", "head", "person", "horse", "cow", "sheep")
        document["categories"] += [{"id": i, "name": name} for i, name in enumerate(names, start=3)]
        coco.write_text(json.dumps(document))
    given = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "runs"), "--profile", "smoke"]
    assert main(["all", *given]) == 0
    for name in ("table1.md", "table2.md", "colorizer-field.json", "recognizer-paper.json", "colorizer-field.png"):
        assert (tmp_path / "runs" / name).stat().st_size > 100, name
