"""`tapetum-train report`: real networks, small pictures; what is asserted are shapes and arithmetic, never times."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.training.photographs import write_photographs
from training.__main__ import main
from training.report import markdown
from training.tables import table1, table2
from training.tables.timing import BACKENDS, interleaved

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("size", "expected"), [("128x128", (128, 128)), ("800x600", (608, 800)), ("65x97", (128, 96))]
)
def test_inputs_are_padded_as_the_letterbox_does(size: str, expected: tuple[int, int]) -> None:
    assert table1.padded(size) == expected


def test_turns_are_taken_round_by_round() -> None:
    turns: list[str] = []
    medians = interleaved({"a": lambda: turns.append("a"), "b": lambda: turns.append("b")}, rounds=3, warm_up=1)
    assert turns == ["a", "b"] * 4
    assert set(medians) == {"a", "b"} and all(seconds > 0 for seconds in medians.values())


def test_every_recognizer_runs_in_every_runtime() -> None:
    table = table1.measure(["64x64"], rounds=1, device=CPU, networks=("paper", "field"))
    assert {name: set(times) for name, times in table["64x64"].items()} == {
        "paper": {*BACKENDS, table1.SECOND_STAGE},
        "field": {*BACKENDS, table1.SECOND_STAGE},
    }


def test_table_1_compares_each_runtime_with_vgg_in_its_own_fp32() -> None:
    slow = {"pytorch_fp32": 4.0, "onnxruntime_fp32": 2.0, "onnxruntime_int8": 1.0}
    fast = {"pytorch_fp32": 0.5, "onnxruntime_fp32": 0.25, "onnxruntime_int8": 0.125}
    head, *rows = table1.rows({"128x128": {"vgg16": slow, "paper": fast, "field": fast}})
    gains = {(row[0], row[1]): row[-1] for row in rows}
    assert gains["field", "pytorch fp32"] == "8.0"
    assert gains["field", "onnxruntime fp32"] == "8.0"
    assert gains["field", "onnxruntime int8"] == "16.0"
    assert gains["Faster R-CNN (VGG-16)", "pytorch fp32"] == "1.0"
    assert {len(row) for row in rows} == {len(head)}
    assert ["Faster R-CNN, as published", "Table 1", "0.75", ""] in rows


def test_markdown() -> None:
    assert markdown([["a", "b"], ["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Colorizers that have learnt nothing: one step on four photographs."""
    folder = tmp_path_factory.mktemp("runs")
    write_photographs(folder / "photographs", 8)
    for variant in ("field", "paper"):
        given = ["--images", str(folder / "photographs"), "--steps", "1", "--batch", "2", "--crop-px", "64"]
        given += ["--variant", variant, "--workers", "0", "--threads", "1"]
        assert main(["colorizer", *given, "--out", str(folder / variant)]) == 0
    return {variant: folder / variant for variant in ("field", "paper")}


def test_table_2(runs: dict[str, Path], tmp_path: Path) -> None:
    write_photographs(tmp_path / "judged", 2)
    given = ["--images", str(tmp_path / "judged"), "--rounds", "1", "--threads", "1", "--out", str(tmp_path / "out")]
    assert main(["report", "table2", "--runs", *(f"{v}={run}" for v, run in runs.items()), *given]) == 0
    table = json.loads((tmp_path / "out/table2.json").read_text())
    assert table["photographs"] == 2
    assert set(table["scores"]) == {"grey copy", "field", "paper"}
    assert set(table["scores"]["field"]) == set(table2.METRICS)
    assert set(table["seconds"]["paper"]) == set(BACKENDS)
    lines = (tmp_path / "out/table2.md").read_text().splitlines()
    assert len(lines) == 5 and "0.9002" in lines[-1]
    assert (tmp_path / "out/table2.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("runs_given", "words"),
    [
        (["field"], "is not VARIANT=RUN"),
        (["sepia=there"], "no colorizer 'sepia': paper, field, zhang, iizuka"),
        (["field=nowhere"], "cannot read the checkpoint's card"),
    ],
)
def test_runs_that_are_none(
    runs_given: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_photographs(tmp_path / "judged", 1)
    given = ["--images", str(tmp_path / "judged"), "--out", str(tmp_path / "out")]
    try:
        code = main(["report", "table2", "--runs", *runs_given, *given])
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    assert code != 0 and words in capsys.readouterr().err


def test_no_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert main(["report", "table1", "--device", "cuda", "--out", str(tmp_path)]) == 2
    assert "no usable GPU" in capsys.readouterr().err


@pytest.mark.slow
def test_table_1_with_vgg(tmp_path: Path) -> None:
    """120 million parameters, exported and made INT8: half a minute and 2 GB."""
    assert main(["report", "table1", "--sizes", "64x64", "--rounds", "1", "--out", str(tmp_path)]) == 0
    table = json.loads((tmp_path / "table1.json").read_text())
    assert set(table["seconds"]["64x64"]) == {"vgg16", "paper", "field"}
    assert (tmp_path / "table1.png").stat().st_size > 1000
