"""Export, quantize, pack: real graphs, run by the runtime that ships."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from edge.bundle import DEMO_BUNDLE, load_bundle, read_manifest
from edge.errors import BundleError, InputError
from edge.media import read_still
from edge.networks import Networks
from tests.training.photographs import write_photographs
from trt_build.__main__ import main
from trt_build.export import export
from trt_build.graphs import graph_path, read_interface, session
from trt_build.pack import Judges, pack
from trt_build.quantize import KEEP, calibration_set, quantize

NAMES = ("context", "colorizer", "recognizer")


def test_exported_graphs_have_fixed_shapes(graphs: Path) -> None:
    inputs, outputs = read_interface(graph_path(graphs, "recognizer", "fp32"))
    assert inputs["image"].shape == (1, 1, 160, 160)
    assert outputs["boxes"].shape == (1, 100, 4) and outputs["labels"].dtype == "int64"
    inputs, outputs = read_interface(graph_path(graphs, "colorizer", "fp32"))
    assert inputs["context"].shape == (1, 1000) and outputs["ab"].shape == (1, 2, 64, 64)


def test_opset_is_one_that_tensorrt_10_3_parses(graphs: Path) -> None:
    for name in NAMES:
        assert onnx.load(graph_path(graphs, name, "fp32")).opset_import[0].version == 17


@pytest.mark.parametrize("name", NAMES)
def test_quantized_graphs_keep_tensorrts_rules(graphs: Path, name: str) -> None:
    graph = onnx.load(graph_path(graphs, name, "int8")).graph  # type: ignore[arg-type]
    constants = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer}
    quantizers = [n for n in graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(quantizers) > 50
    for node in quantizers:
        zero_point = constants[node.input[2]]
        assert zero_point.dtype == np.int8 and not zero_point.any()
    assert all(n.op_type != "QuantizeLinear" or n.output[0] not in {o.name for o in graph.output} for n in graph.node)
    biases = {n.input[2] for n in graph.node if n.op_type == "Conv" and len(n.input) > 2}
    assert biases <= set(constants), "a bias is quantized"
    per_channel = [n for n in quantizers if n.input[0] in constants and constants[n.input[1]].size > 1]
    assert len(per_channel) > 20


def test_named_layers_stay_in_float(graphs: Path) -> None:
    graph = onnx.load(graph_path(graphs, "colorizer", "int8")).graph
    dequantized = {o for n in graph.node if n.op_type == "DequantizeLinear" for o in n.output}
    kept = [
        n for n in graph.node if any(part in n.name for part in KEEP["colorizer"]) and n.op_type in ("Conv", "Gemm")
    ]
    assert len(kept) == len(KEEP["colorizer"])
    assert not any(i in dequantized for n in kept for i in n.input)


def test_int8_is_close_to_fp32(graphs: Path, photographs: list[Path]) -> None:
    luma = read_still(photographs[0])
    feed = {"luma": np.float32(luma[:64, :64] / 255.0).repeat(2, 0).repeat(2, 1)[None, None]}
    feed["context"] = np.zeros((1, 1000), np.float32)
    one, other = (session(graph_path(graphs, "colorizer", p)).run(None, feed)[0] for p in ("fp32", "int8"))
    assert np.abs(one - other).mean() < 0.3 * np.abs(one).mean() + 0.5


def test_pack_measures_every_precision_and_ships_what_is_asked(
    graphs: Path, photographs: list[Path], coco: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    manifest = pack(
        graphs,
        out,
        name="test",
        version="7",
        chosen="int8",
        ship=("int8",),
        judges=Judges(photographs[:3], coco, coco.parent),
        calibration=calibration_set(photographs),
    )
    assert manifest.labels == ("cat", "dog")
    for precision in ("fp32", "int8"):
        colour, detection = (manifest.models[name].accuracy[precision] for name in ("colorizer", "recognizer"))
        assert colour["psnr_db"] > 5 and 0 < colour["mssim"] < 1 and 0 < colour["grey_mssim"] < 1
        assert {"ap", "ap50", "ap50_dog", "ap50_animals"} <= set(detection)
    assert sorted(p.name for p in out.glob("*.onnx")) == [f"{n}.int8.onnx" for n in sorted(NAMES)]
    with pytest.raises(BundleError, match="no fp32"):
        load_bundle(out, "fp32")
    with Networks(load_bundle(out)) as networks:
        luma = read_still(photographs[0])
        assert networks.colour(luma, networks.context(luma)).shape == (2, 64, 64)


def test_the_command_line_goes_from_checkpoint_to_bundle(
    checkpoints: Path, photographs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graphs, images = tmp_path / "graphs", str(photographs[0].parent)
    for name in ("recognizer", "colorizer"):
        assert (
            main(["export", str(checkpoints / name), "--out", str(graphs), "--images", images, "--count", "2"]) == 0
        )
    assert "largest difference from PyTorch" in capsys.readouterr().out
    assert main(["quantize", str(graphs), "--frames", images, "--count", "16"]) == 0
    held_out = tmp_path / "held_out.txt"  # as `tapetum-train colorizer` writes it
    held_out.write_text("".join(f"{file}\n" for file in photographs[:2]))
    pack_them = ["pack", str(graphs), "--out", str(tmp_path / "bundle"), "--name", "cli"]
    assert main([*pack_them, "--colour-images", str(held_out)]) == 0
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert manifest["calibration"]["images"] == 16
    assert set(manifest["models"]["context"]["precisions"]) == {"fp32", "int8"}
    assert set(manifest["models"]["colorizer"]["accuracy"]) == {"fp32", "int8"}


def test_too_few_calibration_frames_are_refused(graphs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 16"):
        quantize(graphs, "context", write_photographs(tmp_path, 3))


def test_a_broken_calibration_frame_leaves_nothing_behind(
    graphs: Path, photographs: list[Path], tmp_path: Path
) -> None:
    shutil.copy(graph_path(graphs, "context", "fp32"), tmp_path)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"broken\.jpg: not an image"):
        quantize(tmp_path, "context", [*photographs, broken])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["broken.jpg", "context.fp32.onnx"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "{tmp}/absent", "--out", "{tmp}/g", "--images", "{images}"], "cannot read the checkpoint's card"),
        (["export", "{tmp}/absent", "--out", "{tmp}/g", "--images", "{tmp}/none"], "neither a folder of images"),
        (["quantize", "{tmp}", "--frames", "{images}"], "context.fp32.onnx"),
        (["pack", "{tmp}", "--out", "{tmp}/b", "--name", "x"], "not the card of an exported network"),
        (["pack", "{tmp}", "--out", "{tmp}/b", "--name", "x", "--ship", "fp32"], "not among those to ship"),
        (
            ["pack", "{fp32}", "--out", "{tmp}/b", "--name", "x"],
            "no int8 graph of context, colorizer, recognizer: run tapetum-build quantize",
        ),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    message: str,
    photographs: list[Path],
    graphs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fp32 = copy_of(graphs, tmp_path / "fp32", "*.fp32.onnx")
    filled = [a.format(tmp=tmp_path, images=photographs[0].parent, fp32=fp32) for a in arguments]
    assert main(filled) == 3
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("tapetum-build: ") and message in error


def copy_of(graphs: Path, folder: Path, pattern: str = "*.onnx") -> Path:
    """A folder of graphs of a test's own, with their cards."""
    folder.mkdir()
    for path in (*graphs.glob(pattern), *(graphs / f"{name}.json" for name in NAMES)):
        shutil.copy(path, folder)
    return folder


@pytest.mark.parametrize(("option", "key"), [("--name", "name"), ("--bundle-version", "version")])
def test_what_a_manifest_cannot_hold_is_one_line(
    option: str, key: str, graphs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value = "bad name" if key == "name" else ""
    assert main(["pack", str(graphs), "--out", str(tmp_path / "b"), "--name", "x", option, value]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"tapetum-build: this cannot stand in a manifest: {key}: ") and error.count("\n") == 1
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("value", ["0", "-3", "many"])
@pytest.mark.parametrize("command", ["export", "quantize", "pack"])
def test_a_count_is_positive(command: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([command, "x", "--count", value])
    assert f"argument --count: '{value}' is not a whole number from 1 on" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_one_line(
    graphs: Path, checkpoints: Path, photographs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    out = str(tmp_path / "file" / "b")
    images = str(photographs[0].parent)
    assert main(["export", str(checkpoints / "recognizer"), "--out", out, "--images", images]) == 1
    assert capsys.readouterr().err == f"tapetum-build: {out}: Not a directory\n"
    assert main(["pack", str(graphs), "--out", out, "--name", "x"]) == 1
    assert capsys.readouterr().err == f"tapetum-build: {out}: Not a directory\n"


def test_graphs_that_cannot_be_noted_are_one_line(
    graphs: Path, photographs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = copy_of(graphs, tmp_path / "graphs")
    (mine / "calibration.json").mkdir()
    assert main(["quantize", str(mine), "--frames", str(photographs[0].parent)]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"tapetum-build: {mine}") and error.endswith("Is a directory")


def test_a_smaller_bundle_leaves_nothing_of_the_larger_one(graphs: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    out.mkdir()
    for name in ("night.mp4", "LICENCE.txt"):  # a demo's bundle begins with its clip
        (out / name).write_bytes(b"kept")
    assert main(["pack", str(graphs), "--out", str(out), "--name", "both"]) == 0
    assert len(list(out.glob("*.onnx"))) == 6
    assert main(["pack", str(graphs), "--out", str(out), "--name", "small", "--ship", "int8"]) == 0
    expected = ["LICENCE.txt", "manifest.json", "night.mp4", *(f"{name}.int8.onnx" for name in NAMES)]
    assert sorted(p.name for p in out.iterdir()) == sorted(expected)
    assert load_bundle(out).manifest.name == "small"


def test_an_interrupted_pack_keeps_the_manifest_and_can_be_repeated(
    graphs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "bundle"
    command = ["pack", str(graphs), "--out", str(out), "--ship", "int8", "--name"]
    assert main([*command, "old"]) == 0
    before = sorted(p.name for p in out.iterdir())

    def interrupted(_source: Path, target: Path) -> None:
        target.write_bytes(b"half a graph")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", interrupted)
        assert main([*command, "new"]) == 130
    assert sorted(p.name for p in out.iterdir()) == before
    assert load_bundle(out).manifest.name == "old"
    assert main([*command, "new"]) == 0
    assert load_bundle(out).manifest.name == "new"


def test_the_graphs_are_no_place_for_their_bundle(
    graphs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = copy_of(graphs, tmp_path / "graphs")
    assert main(["pack", str(mine), "--out", str(mine), "--name", "x", "--ship", "int8"]) == 3
    assert "holds other files (colorizer.json)" in capsys.readouterr().err
    assert len(list(mine.glob("*.onnx"))) == 6


def test_a_bundle_does_not_replace_a_folder_of_something_else(graphs: Path, tmp_path: Path) -> None:
    (tmp_path / "diary.md").write_text("dear diary")
    with pytest.raises(InputError, match="holds other files"):
        pack(
            graphs,
            tmp_path,
            name="x",
            version="1",
            chosen="int8",
            ship=("int8",),
            judges=Judges(),
            calibration=None,
        )


def test_not_an_onnx_file(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(b"garbage that is no graph")
    with pytest.raises(InputError, match="not an ONNX file"):
        read_interface(path)


def test_export_refuses_a_broken_image(checkpoints: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"")
    with pytest.raises(InputError, match=r"broken\.png"):
        export(checkpoints / "recognizer", tmp_path / "g", [broken])
    assert not list((tmp_path / "g").glob("*.onnx"))


def test_a_site_s_colorizer_joins_the_recognizer_of_another_bundle(
    graphs: Path, photographs: list[Path], tmp_path: Path
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    for name in ("context", "colorizer"):
        for suffix in (".json", ".fp32.onnx", ".int8.onnx"):
            (site / f"{name}{suffix}").write_bytes((graphs / f"{name}{suffix}").read_bytes())
    judges = ["--colour-images", str(photographs[0].parent), "--count", "2"]
    given = ["pack", str(site), "--out", str(tmp_path / "bundle"), "--name", "site", "--ship", "int8", *judges]
    assert main(given) == 3  # there is no recognizer yet
    assert main([*given, "--base", str(DEMO_BUNDLE)]) == 0
    demo, manifest = read_manifest(DEMO_BUNDLE), read_manifest(tmp_path / "bundle")
    assert manifest.models["recognizer"].precisions == demo.models["recognizer"].precisions
    assert manifest.labels == demo.labels
    assert manifest.provenance["recognizer.from"] == f"bundle {demo.name} {demo.version}"
    assert manifest.models["recognizer"].accuracy == demo.models["recognizer"].accuracy
    assert manifest.models["colorizer"].precisions != demo.models["colorizer"].precisions
    assert set(manifest.models["colorizer"].accuracy) == {"fp32", "int8"}  # so that they can be compared
    load_bundle(tmp_path / "bundle")
