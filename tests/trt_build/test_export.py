"""Export: real graphs of small networks, their sizes, their proof, and nothing left behind where it fails."""

from __future__ import annotations

import contextlib
import io
import resource
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
import torch

from edge.bundles.manifest import MODEL_NAMES
from edge.errors import InputError
from tests.training.photographs import write_photographs
from training.checkpoint import MODEL, Card, save_weights
from training.models import two_stage
from training.models.recognizer_paper import PaperRecognizer
from trt_build import export as export_module
from trt_build.__main__ import main
from trt_build.export import export
from trt_build.graphs import graph_path, read_card, read_interface


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recognizer that is exported in no time."""
    folder = tmp_path_factory.mktemp("run") / "recognizer"
    torch.manual_seed(0)
    card = Card("recognizer", variant="paper", labels=["cat", "dog"], input_size=96)
    save_weights(folder, PaperRecognizer(2, 96).state_dict(), card)
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photographs(tmp_path_factory.mktemp("images"), 2)[0].parent


def test_exported_graphs_have_fixed_shapes(graphs: Path) -> None:
    inputs, outputs = read_interface(graph_path(graphs, "recognizer", "fp32"))
    assert inputs["image"].shape == (1, 1, 160, 160)
    assert list(outputs) == ["boxes", "scores", "labels"]
    assert outputs["boxes"].shape == (1, 100, 4) and outputs["labels"].dtype == "int64"
    inputs, outputs = read_interface(graph_path(graphs, "colorizer", "fp32"))
    assert inputs["context"].shape == (1, 1000) and outputs["ab"].shape == (1, 2, 64, 64)


def test_opset_is_one_that_tensorrt_10_3_parses(graphs: Path) -> None:
    for name in MODEL_NAMES:
        assert onnx.load(graph_path(graphs, name, "fp32")).opset_import[0].version == 17


@pytest.fixture(scope="module")
def exported(checkpoint: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder in which an older export and its INT8 graphs were, and what the command printed."""
    folder = tmp_path_factory.mktemp("exported")
    for older in (graph_path(folder, "recognizer", "int8"), graph_path(folder, "context", "int8")):
        older.write_bytes(b"of an older export")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main(["export", str(checkpoint / MODEL), "--out", str(folder), "--images", str(images)]) == 0
    return folder, printed.getvalue().splitlines()


def test_each_limit_is_printed(exported: tuple[Path, list[str]]) -> None:
    stages = ("RPN scores", "proposals", "RoI features", "final boxes")
    heads = ["recognizer over 2 images", *(f"recognizer's {stage} at 96x96 and 224x160" for stage in stages)]
    assert [line.partition(": largest difference from PyTorch ")[0] for line in exported[1]] == heads
    assert all(line.endswith("(limit 0.001)") for line in exported[1])


def test_what_was_made_from_an_older_export_goes(exported: tuple[Path, list[str]]) -> None:
    names = ["context.int8.onnx", "recognizer.fp32.onnx", "recognizer.json"]
    assert sorted(path.name for path in exported[0].iterdir()) == names
    assert read_card(exported[0], "recognizer").labels == ["cat", "dog"]


@pytest.mark.parametrize(("size", "shape"), [("64", (64, 64)), ("224x160", (160, 224))])
def test_a_recognizer_of_another_size(
    size: str, shape: tuple[int, int], checkpoint: Path, images: Path, tmp_path: Path
) -> None:
    assert main(["export", str(checkpoint), "--out", str(tmp_path), "--images", str(images), "--size", size]) == 0
    inputs, outputs = read_interface(graph_path(tmp_path, "recognizer", "fp32"))
    assert inputs["image"].shape == (1, 1, *shape) and outputs["boxes"].shape == (1, 100, 4)


def test_a_colorizer_of_another_size_keeps_its_context_network(
    checkpoints: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", str(checkpoints / "colorizer"), "--out", str(tmp_path), "--images", str(images)]
    assert main([*command, "--size", "96x64", "--count", "1"]) == 0
    inputs, outputs = read_interface(graph_path(tmp_path, "colorizer", "fp32"))
    assert inputs["luma"].shape == (1, 1, 64, 96) and outputs["ab"].shape == (1, 2, 32, 48)
    inputs, _ = read_interface(graph_path(tmp_path, "context", "fp32"))
    assert inputs["luma"].shape == (1, 1, 224, 224)
    assert capsys.readouterr().out.count("over 1 images: largest difference") == 2


@pytest.mark.parametrize("size", ["1280x720", "32", "0x64", "64x", "64x64x64", "wide", "-64"])
def test_a_size_that_no_network_has(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["export", "x", "--out", "y", "--images", "z", f"--size={size}"])
    assert "argument --size: '" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["0", "-3", "many"])
def test_a_count_is_positive(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["export", "x", "--count", value])
    assert f"argument --count: '{value}' is not a whole number from 1 on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{tmp}/absent", "--images", "{images}"], "cannot read the checkpoint's card"),
        (["{tmp}/absent", "--images", "{tmp}/none"], "neither a folder of images"),
        (["{tmp}/absent", "--images", "{tmp}"], "no image in it"),
        (["{colorizer}", "--images", "{images}", "--context-weights", "{tmp}/none"], "none"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    message: str,
    checkpoints: Path,
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    filled = [a.format(tmp=tmp_path, images=images, colorizer=checkpoints / "colorizer") for a in arguments]
    assert main(["export", *filled, "--out", str(tmp_path / "g")]) == 3
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and error[0].startswith("tapetum-build: ") and message in error[0]
    assert not list(tmp_path.rglob("*.onnx"))


def test_a_folder_that_cannot_be_written_is_one_line(
    checkpoint: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    out = str(tmp_path / "file" / "b")
    assert main(["export", str(checkpoint), "--out", out, "--images", str(images)]) == 1
    assert capsys.readouterr().err == f"tapetum-build: {out}: Not a directory\n"


def test_a_broken_image_leaves_nothing_behind(checkpoint: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"")
    with pytest.raises(InputError, match=r"broken\.png"):
        export(checkpoint, tmp_path / "g", [broken])
    assert not list((tmp_path / "g").iterdir())


@pytest.fixture
def a_full_disk() -> Iterator[None]:
    """No file of this process may grow over 1 MiB: the kernel's answer is the same kind of error as a full disk's."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("a_full_disk")
def test_a_full_disk_leaves_the_older_graphs(
    checkpoint: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    older = [graph_path(tmp_path, "recognizer", precision) for precision in ("fp32", "int8")]
    for path in older:
        path.write_bytes(b"an older graph")
    assert main(["export", str(checkpoint), "--out", str(tmp_path), "--images", str(images)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "File too large" in error
    assert sorted(tmp_path.iterdir()) == older
    assert {path.read_bytes() for path in older} == {b"an older graph"}


def test_a_graph_that_computes_something_else_does_not_take_its_name(
    checkpoint: Path,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fold = export_module.fold

    def spoil(model: onnx.ModelProto) -> None:
        """As if the exporter had lost the bias of the objectness."""
        fold(model)
        (bias,) = (tensor for tensor in model.graph.initializer if tensor.name == "rpn_objectness.bias")
        bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + 0.1, bias.name))

    monkeypatch.setattr(export_module, "fold", spoil)
    assert main(["export", str(checkpoint), "--out", str(tmp_path), "--images", str(images)]) == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert "recognizer's RPN scores at 96x96 and 224x160: ONNX Runtime differs from PyTorch by 0.1" in error[-1]
    assert not list(tmp_path.iterdir())


def test_a_graph_that_tensorrt_cannot_take_does_not_take_its_name(
    checkpoints: Path,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(two_stage, "PROPOSALS_BEFORE_NMS", 5000)  # of 4500 anchors
    command = ["export", str(checkpoints / "recognizer"), "--out", str(tmp_path), "--images", str(images)]
    assert main(command) == 3
    error = capsys.readouterr().err
    assert "recognizer: /TopK (TopK): TensorRT finds the top 3840 at most: ask for 3840 or fewer" in error
    assert error.count("\n") == 1 and not list(tmp_path.iterdir())


def test_an_interrupt_leaves_nothing_behind(
    checkpoint: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(export_module, "read_still", interrupted)
    assert main(["export", str(checkpoint), "--out", str(tmp_path), "--images", str(images)]) == 130
    assert not list(tmp_path.iterdir())


def test_not_an_onnx_file(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(b"garbage that is no graph")
    with pytest.raises(InputError, match="not an ONNX file"):
        read_interface(path)
