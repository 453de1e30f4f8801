"""FP16 and INT8 graphs of real networks: their rules, their types, how close they are, and what goes wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from edge.bundles.manifest import Calibration, ModelName
from edge.errors import InputError
from edge.inference.onnx import OnnxRunner
from tests.training.residual import residual
from training.onnx_graphs import prepare
from trt_build.__main__ import main
from trt_build.calibration.set import make_set
from trt_build.checks.quantized import violations
from trt_build.graphs import graph_path, read_card, read_interface, session
from trt_build.precision.damage import Judge
from trt_build.precision.inputs import feeds
from trt_build.precision.write import KEEP, NotFiniteError, write_fp16, write_int8

NAMES: tuple[ModelName, ...] = ("context", "colorizer", "recognizer")


@pytest.fixture(scope="module")
def exported(graphs: Path, tmp_path_factory: pytest.TempPathFactory, photographs: list[Path]) -> Path:
    """FP32 graphs with their cards, and FP16 beside them."""
    folder = copied(graphs, tmp_path_factory.mktemp("fp16") / "graphs")
    for name in NAMES:
        write_fp16(folder, name, photographs[:4])
    return folder


@pytest.fixture(scope="module")
def frames(photographs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibration set."""
    folder = tmp_path_factory.mktemp("calibration") / "set"
    make_set(photographs[0].parent, folder, count=16)
    return folder


def copied(graphs: Path, folder: Path, names: tuple[ModelName, ...] = NAMES) -> Path:
    """FP32 graphs and cards in a folder of a test's own."""
    folder.mkdir()
    for name in names:
        shutil.copy(graph_path(graphs, name, "fp32"), folder)
        shutil.copy(graphs / f"{name}.json", folder)
    return folder


def types_of(path: Path) -> dict[str, int]:
    """Element type of each tensor of a graph."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    values = (*graph.value_info, *graph.input, *graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}


@pytest.mark.parametrize("name", NAMES)
def test_int8_graphs_keep_tensorrts_rules(graphs: Path, name: ModelName) -> None:
    model = onnx.load(graph_path(graphs, name, "int8"))
    assert violations(model) == []
    assert sum(node.op_type == "QuantizeLinear" for node in model.graph.node) > 25
    assert model.opset_import[0].version == 19


@pytest.mark.parametrize("name", NAMES)
def test_the_interface_is_that_of_fp32(exported: Path, graphs: Path, name: ModelName) -> None:
    wanted = read_interface(graph_path(graphs, name, "fp32"))
    assert read_interface(graph_path(exported, name, "fp16")) == wanted
    assert read_interface(graph_path(graphs, name, "int8")) == wanted


def test_named_layers_stay_in_float_and_stand_in_the_card(graphs: Path) -> None:
    kept = read_card(graphs, "colorizer").float_layers["int8"]
    assert len(kept) == len(KEEP["colorizer"]) == 3
    graph = onnx.load(graph_path(graphs, "colorizer", "int8")).graph
    dequantized = {output for node in graph.node if node.op_type == "DequantizeLinear" for output in node.output}
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm"):
            assert (node.input[1] in dequantized) == (node.name not in kept), node.name


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_float_layers_compute_in_half_and_scores_do_not(exported: Path, graphs: Path, precision: str) -> None:
    folder = exported if precision == "fp16" else graphs
    path = graph_path(folder, "recognizer", precision)  # type: ignore[arg-type]
    graph, types = onnx.load(path).graph, types_of(path)
    of = {kind: {types[n.output[0]] for n in graph.node if n.op_type == kind} for kind in ("Conv", "Gemm", "Relu")}
    assert of == {kind: {TensorProto.FLOAT16} for kind in of}
    exact = ("Softmax", "Sigmoid", "Exp", "TopK", "GridSample", "Sub", "Max", "Greater")
    for node in graph.node:
        if node.op_type in exact:
            read = {types[name] for name in node.input if name} - {TensorProto.INT64, TensorProto.BOOL}
            assert read <= {TensorProto.FLOAT}, node.name


@pytest.mark.parametrize("name", ["context", "colorizer"])
def test_fp16_is_close_and_half_the_size(exported: Path, photographs: list[Path], name: ModelName) -> None:
    fp32, fp16 = (graph_path(exported, name, precision) for precision in ("fp32", "fp16"))  # type: ignore[arg-type]
    assert 0 < Judge(exported, name, photographs[:4]).damage(fp16) < 0.1
    assert fp16.stat().st_size < 0.55 * fp32.stat().st_size


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_openvino_computes_what_onnx_runtime_computes(
    exported: Path, graphs: Path, photographs: list[Path], name: ModelName, precision: str
) -> None:
    path = graph_path(exported if precision == "fp16" else graphs, name, precision)  # type: ignore[arg-type]
    first = next(iter(read_interface(path)[1]))
    with OnnxRunner(path, *read_interface(path), threads=1) as runner:
        for feed in feeds(graphs, name, photographs[:2]):
            found, wanted = runner.run(dict(feed))[first], session(path).run([first], dict(feed))[0]
            assert np.isfinite(found).all()
            if name != "recognizer":  # an untrained one's boxes are a matter of the last bit
                np.testing.assert_allclose(found, wanted, atol=0.1 * float(np.abs(wanted).max()))


def test_int8_is_close_to_fp32(graphs: Path, photographs: list[Path]) -> None:
    path = graph_path(graphs, "colorizer", "int8")
    assert 0 < Judge(graphs, "colorizer", photographs[:4]).damage(path) < 2


def test_an_input_that_the_network_ignores_is_still_there(tmp_path: Path) -> None:
    model = residual()
    model.graph.input.append(onnx.helper.make_tensor_value_info("context", TensorProto.FLOAT, [1, 1000]))
    onnx.save(model, tmp_path / "x.onnx")
    assert [value.name for value in prepare(tmp_path / "x.onnx").graph.input] == ["x", "context"]


def test_a_float_part_in_fp32_runs_everywhere(graphs: Path, photographs: list[Path], tmp_path: Path) -> None:
    mine = copied(graphs, tmp_path / "graphs", ("context", "colorizer"))
    written = write_int8(mine, "context", photographs[:4], rest="fp32")
    model = onnx.load(written.path)
    assert model.opset_import[0].version == 17
    assert TensorProto.FLOAT16 not in {tensor.data_type for tensor in model.graph.initializer}
    assert violations(model) == []


def test_the_same_calibration_gives_the_same_graph(graphs: Path, photographs: list[Path], tmp_path: Path) -> None:
    mine = copied(graphs, tmp_path / "graphs", ("context", "colorizer"))
    again = write_int8(mine, "context", photographs[:4]).path
    assert again.read_bytes() == graph_path(graphs, "context", "int8").read_bytes()


def test_what_fp16_does_not_hold_is_refused(graphs: Path, photographs: list[Path], tmp_path: Path) -> None:
    mine = copied(graphs, tmp_path / "graphs", ("context", "colorizer"))
    path = graph_path(mine, "colorizer", "fp32")
    model = onnx.load(path)
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "ab.bias")
    weight.CopyFrom(onnx.numpy_helper.from_array(np.full(2, 1e5, np.float32), "ab.bias"))
    onnx.save(model, path)
    before = sorted(p.name for p in mine.iterdir())
    with pytest.raises(
        NotFiniteError, match=r"/ab/Conv reaches 1e\+05 on real frames, FP16 ends at 65504: leave the"
    ):
        write_fp16(mine, "colorizer", photographs[:4])
    with pytest.raises(NotFiniteError, match=r"colorizer\.int8\.onnx: /ab/Conv reaches .*: use --rest fp32"):
        write_int8(mine, "colorizer", photographs[:4])
    assert sorted(p.name for p in mine.iterdir()) == before
    assert write_fp16(mine, "colorizer", photographs[:4], keep=["/ab/"]).float_layers == ("/ab/Conv",)


def test_a_broken_frame_leaves_nothing_behind(graphs: Path, photographs: list[Path], tmp_path: Path) -> None:
    mine = copied(graphs, tmp_path / "graphs")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    before = sorted(p.name for p in mine.iterdir())
    with pytest.raises(InputError, match=r"broken\.jpg: not an image"):
        write_int8(mine, "context", [photographs[0], broken])
    assert sorted(p.name for p in mine.iterdir()) == before


class TestCommand:
    def test_it_says_what_it_wrote_and_notes_the_calibration(
        self, graphs: Path, frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        mine = copied(graphs, tmp_path / "graphs", ("context", "colorizer"))
        command = ["quantize", str(mine), "--precision", "int8", "--calibration", str(frames)]
        assert main([*command, "--method", "percentile", "--keep", "/stem/"]) == 0
        out = capsys.readouterr().out.splitlines()
        assert out[0].startswith(f"wrote {mine / 'context.int8.onnx'}: 4.8 MB, 1 of 50 layers in a wider type, ")
        assert "from FP32 (mean CIEDE2000 of the colours, 12 frames)" in out[1] and len(out) == 2
        noted = Calibration.model_validate_json((mine / "calibration.json").read_text())
        assert (noted.images, noted.method) == (16, "percentile")

    @pytest.mark.slow
    def test_auto_prints_a_table(
        self, graphs: Path, frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        mine = copied(graphs, tmp_path / "graphs", ("context", "colorizer"))
        assert (
            main(["quantize", str(mine), "--precision", "int8", "--calibration", str(frames), "--keep", "auto"]) == 0
        )
        out = capsys.readouterr().out
        assert "damage of each layer alone in INT8" in out and "(all in INT8)" in out and "/Conv" in out
        assert set(read_card(mine, "colorizer").float_layers) == {"int8"}

    def test_fp16_needs_no_calibration_record(self, graphs: Path, frames: Path, tmp_path: Path) -> None:
        mine = copied(graphs, tmp_path / "graphs", ("context", "colorizer"))
        assert main(["quantize", str(mine), "--precision", "fp16", "--calibration", str(frames)]) == 0
        assert not (mine / "calibration.json").exists()
        assert graph_path(mine, "colorizer", "fp16").exists()

    @pytest.mark.parametrize(
        ("given", "code", "message"),
        [
            (["{empty}", "--precision", "int8", "--calibration", "{set}"], 3, "context.fp32.onnx"),
            (["{graphs}", "--precision", "int8", "--calibration", "{empty}"], 3, "run tapetum-build calibrate"),
            (
                ["{graphs}", "--precision", "fp16", "--calibration", "{set}", "--keep", "auto"],
                2,
                "belong to --precision int8",
            ),
            (
                ["{graphs}", "--precision", "fp16", "--calibration", "{set}", "--rest", "fp32"],
                2,
                "belong to --precision int8",
            ),
            (
                ["{graphs}", "--precision", "int8", "--calibration", "{set}", "--keep", "auto", "x"],
                2,
                "auto alone",
            ),
        ],
    )
    def test_bad_input_is_one_line(
        self,
        given: list[str],
        code: int,
        message: str,
        graphs: Path,
        frames: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        filled = [text.format(empty=tmp_path, set=frames, graphs=graphs) for text in given]
        assert main(["quantize", *filled]) == code
        error = capsys.readouterr().err
        assert error.startswith("tapetum-build: ") and message in error and error.count("\n") == 1

    @pytest.mark.slow
    def test_a_record_that_cannot_be_written_is_one_line(
        self, graphs: Path, frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        mine = copied(graphs, tmp_path / "graphs", ("context", "colorizer"))
        (mine / "calibration.json").mkdir()
        assert main(["quantize", str(mine), "--precision", "int8", "--calibration", str(frames)]) == 1
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith(f"tapetum-build: {mine}") and error.endswith("Is a directory")
