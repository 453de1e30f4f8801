"""`inspect`: counts against closed forms and against PyTorch's own modules, and what is printed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edge.bundles.bundle import DEMO_BUNDLE
from edge.bundles.manifest import TensorSpec
from edge.engines.store import Flags, Sidecar, sidecar_path
from edge.errors import InputError
from training.models.efficientnet_lite import EfficientNetLite
from training.onnx_graphs import write_fp32
from trt_build.__main__ import main
from trt_build.inspection.boards import BOARDS, Board
from trt_build.inspection.graph import Graph, Tensor, load_graph
from trt_build.inspection.layers import Layer, layers_of
from trt_build.inspection.report import Inspected, scope, short, summary, table
from trt_build.inspection.roofline import bound, compute_ms, layer_ms, traffic_ms

BOARD = Board("a board", fp16_tflops=2.0, int8_tops=4.0, bandwidth_gb_s=1.0)


def graph_of(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, list[int]],
    outputs: list[str],
    constants: dict[str, np.ndarray[Any, Any]] | None = None,
) -> Graph:
    """A graph of float32 inputs; its outputs' shapes are left to the inference."""
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "test",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
        ),
        opset_imports=[helper.make_opsetid("", 19)],
    )
    return Graph(model)


def weights(*shape: int) -> np.ndarray[Any, Any]:
    return np.ones(shape, np.float32)


def node(op: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], name=output, **attributes)


@pytest.mark.parametrize(
    ("op", "attributes", "source", "weight", "bias", "multiply_adds"),
    [
        ("Conv", {"pads": [1] * 4}, [1, 3, 8, 10], [16, 3, 3, 3], 16, 16 * 8 * 10 * 3 * 9),
        ("Conv", {"strides": [2, 2], "group": 4}, [1, 8, 9, 9], [8, 2, 3, 3], 8, 8 * 4 * 4 * 2 * 9),
        ("ConvTranspose", {"strides": [2, 2]}, [1, 6, 5, 7], [6, 4, 2, 2], 4, 6 * 5 * 7 * 4 * 4),
        ("Gemm", {"transB": 1}, [2, 30], [7, 30], 7, 2 * 30 * 7),
        ("Gemm", {"transA": 1}, [30, 2], [30, 7], 7, 2 * 30 * 7),
        ("MatMul", {}, [1, 5, 11, 13], [13, 17], None, 5 * 11 * 13 * 17),
    ],
)
def test_products_are_counted_as_their_closed_form(
    op: str, attributes: dict[str, Any], source: list[int], weight: list[int], bias: int | None, multiply_adds: int
) -> None:
    constants = {"w": weights(*weight)} | ({"b": weights(bias)} if bias else {})
    graph = graph_of([node(op, f"x {' '.join(constants)}", "y", **attributes)], {"x": source}, ["y"], constants)
    (layer,) = layers_of(graph)
    parameters = int(np.prod(weight)) + (bias or 0)
    assert (layer.multiply_adds, layer.parameters, layer.weight_bytes) == (multiply_adds, parameters, 4 * parameters)
    assert (layer.read_bytes, layer.written_bytes) == (4 * int(np.prod(source)), 4 * graph.tensors["y"].elements)
    assert layer.arithmetic == "fp32"


def test_a_whole_network_counts_as_pytorchs_modules_do(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = EfficientNetLite(classifier=True).eval()
    counted = 0

    def count(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal counted
        assert isinstance(module, nn.Conv2d | nn.Linear)
        counted += output.numel() * module.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    example = torch.rand(1, 1, 96, 96)
    with torch.no_grad():
        network(example)
    for hook in hooks:
        hook.remove()
    write_fp32(network, (example,), tmp_path / "x.onnx", inputs=["luma"], outputs=["context"])
    layers = layers_of(load_graph(tmp_path / "x.onnx"))
    assert sum(layer.multiply_adds for layer in layers) == counted > 10**7
    assert sum(layer.parameters for layer in layers) == sum(p.numel() for p in network.parameters())
    # One layer for each convolution and for the classifier; besides them normalisation of the input, and the mean.
    assert len(layers) == len(hooks) + 2


def residual_block() -> Graph:
    """stem with ReLU, then x + conv(relu(conv(x))), then ReLU."""
    constants = {"w": weights(4, 4, 3, 3), "v": weights(4, 1, 3, 3)}
    return graph_of(
        [
            node("Conv", "x v", "stem", pads=[1] * 4),
            node("Relu", "stem", "skip"),
            node("Conv", "skip w", "a", pads=[1] * 4),
            node("Relu", "a", "b"),
            node("Conv", "b w", "c", pads=[1] * 4),
            node("Add", "skip c", "sum"),
            node("Relu", "sum", "y"),
        ],
        {"x": [1, 1, 6, 6]},
        ["y"],
        constants,
    )


def test_what_is_elementwise_joins_the_layer_before_it() -> None:
    layers = layers_of(residual_block())
    assert [layer.ops for layer in layers] == [("Conv", "Relu"), ("Conv", "Relu"), ("Conv", "Add", "Relu")]
    assert [tensor.name for tensor in layers[2].inputs] == ["b", "skip"]
    assert [layer.written_bytes for layer in layers] == [4 * 4 * 36] * 3  # nothing within a layer is written


def test_an_operand_that_others_read_is_written() -> None:
    nodes = [node("Conv", "x w", "a"), node("Relu", "a", "b"), node("Sigmoid", "a", "c"), node("Add", "b c", "y")]
    layers = layers_of(graph_of(nodes, {"x": [1, 2, 4, 4]}, ["y"], {"w": weights(2, 2, 1, 1)}))
    assert [layer.ops for layer in layers] == [("Conv",), ("Relu",), ("Sigmoid", "Add")]


def test_a_smaller_operand_is_not_taken_over() -> None:
    """The sum is made where its large operand is."""
    nodes = [
        node("Conv", "x w", "a"),
        node("GlobalAveragePool", "x", "mean"),
        node("Conv", "mean w", "b"),
        node("Add", "a b", "y"),
    ]
    layers = layers_of(graph_of(nodes, {"x": [1, 2, 4, 4]}, ["y"], {"w": weights(2, 2, 1, 1)}))
    assert [layer.ops for layer in layers] == [("Conv", "Add"), ("GlobalAveragePool",), ("Conv",)]


def quantized(name: str) -> list[onnx.NodeProto]:
    return [
        node("QuantizeLinear", f"{name} s z", f"{name}_q"),
        node("DequantizeLinear", f"{name}_q s z", f"{name}_d"),
    ]


def test_behind_quantizers_memory_holds_int8() -> None:
    nodes = [
        node("DequantizeLinear", "w s z", "wd"),
        *quantized("x"),
        node("Conv", "x_d wd", "a"),
        *quantized("a"),
        node("Conv", "a_d wd", "y"),
    ]
    constants = {"w": np.ones((2, 2, 1, 1), np.int8), "s": np.array(0.1, np.float32), "z": np.array(0, np.int8)}
    first, second = layers_of(graph_of(nodes, {"x": [1, 2, 4, 4]}, ["y"], constants))
    assert first.arithmetic == second.arithmetic == "int8"
    assert first.inputs == (Tensor("x", "float32", (1, 2, 4, 4)),)  # as it came into the network
    assert first.outputs == second.inputs == (Tensor("a", "int8", (1, 2, 4, 4)),)
    assert second.outputs == (Tensor("y", "float32", (1, 2, 4, 4)),)  # as the network declares it
    assert (first.weight_bytes, first.parameters) == (4, 4)


def test_int8_weights_alone_are_not_int8_arithmetic() -> None:
    nodes = [node("DequantizeLinear", "w s z", "wd"), node("Conv", "x wd", "y")]
    constants = {"w": np.ones((2, 2, 1, 1), np.int8), "s": np.array(0.1, np.float32), "z": np.array(0, np.int8)}
    (layer,) = layers_of(graph_of(nodes, {"x": [1, 2, 4, 4]}, ["y"], constants))
    assert (layer.arithmetic, layer.weight_bytes) == ("fp32", 4)


def test_casts_to_half_make_half_of_the_traffic() -> None:
    nodes = [
        node("Cast", "x", "h", to=TensorProto.FLOAT16),
        node("Conv", "h w", "a"),
        node("Conv", "a w", "b"),
        node("Cast", "b", "y", to=TensorProto.FLOAT),
    ]
    graph = graph_of(nodes, {"x": [1, 2, 4, 4]}, ["y"], {"w": np.ones((2, 2, 1, 1), np.float16)})
    first, second = layers_of(graph)
    assert first.arithmetic == second.arithmetic == "fp16"
    assert [(layer.read_bytes, layer.written_bytes, layer.weight_bytes) for layer in (first, second)] == [
        (4 * 32, 2 * 32, 8),
        (2 * 32, 4 * 32, 8),
    ]


def test_reshapes_slices_and_concatenations_move_nothing() -> None:
    nodes = [
        node("Conv", "x w", "a"),
        node("Conv", "x w", "b"),
        node("Concat", "a b", "ab", axis=1),
        node("Slice", "ab zero one axis", "part"),
        node("Reshape", "part shape", "rows"),
        node("MatMul", "rows m", "y"),
    ]
    constants = {
        "w": weights(2, 2, 1, 1),
        "m": weights(16, 3),
        "zero": np.array([0]),
        "one": np.array([1]),
        "axis": np.array([1]),
        "shape": np.array([1, 16]),
    }
    layers = layers_of(graph_of(nodes, {"x": [1, 2, 4, 4]}, ["y"], constants))
    assert [layer.ops for layer in layers] == [("Conv",), ("Conv",), ("MatMul",)]
    assert [layer.written_bytes for layer in layers] == [4 * 32, 4 * 32, 4 * 3]
    assert layers[2].read_bytes == 4 * 16  # the part of one channel that it takes


def layer(multiply_adds: int, moved: int, arithmetic: Any = "fp16") -> Layer:
    return Layer("l", ("Conv",), arithmetic, (Tensor("x", "int8", (moved,)),), (), (), multiply_adds)


def test_a_layers_bound_is_the_larger_of_arithmetic_and_traffic() -> None:
    busy, waiting = layer(10**9, 1000), layer(1000, 10**6)
    assert compute_ms(busy, BOARD) == pytest.approx(1.0) == layer_ms(busy, BOARD)  # 2e9 operations at 2e12 a second
    assert traffic_ms(waiting, BOARD) == pytest.approx(1.0) == layer_ms(waiting, BOARD)  # 1e6 bytes at 1e9 a second
    least = bound([busy, waiting, waiting], BOARD)
    assert (least.total_ms, least.by_traffic_ms) == (pytest.approx(3.0), pytest.approx(2.0))


def test_int8_computes_twice_as_fast_and_fp32_an_eighth() -> None:
    times = [compute_ms(layer(10**9, 0, kind), BOARD) for kind in ("fp32", "fp16", "int8")]
    assert times == pytest.approx([8.0, 1.0, 0.5])


def test_the_boards_are_ordered_by_speed() -> None:
    times = [bound([layer(10**9, 10**6, kind)], board).total_ms for kind in ("fp32", "int8") for board in BOARDS]
    assert times[:3] == sorted(times[:3], reverse=True) and times[3:] == sorted(times[3:], reverse=True)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160, 200, 300])
def test_a_table_fits_its_terminal(width: int) -> None:
    layers = layers_of(load_graph(DEMO_BUNDLE / "recognizer.int8.onnx"))
    lines = table(layers, width)
    assert len(lines) == len(layers) + 1 and max(map(len, lines)) <= width
    titles = lines[0].split()
    assert titles[0] == "layer" and titles[-1] == "us"
    if width >= 200:
        assert {"op", "reads", "makes", "parameters", "weights", "in", "out", "mul-adds"} <= set(titles)


def test_numbers_are_short() -> None:
    assert [short(n, "B") for n in (0, 7, 999, 1000, 12345, 999_600, 3.2e9)] == [
        *("0B", "7B", "999B", "1kB", "12.3kB", "1MB", "3.2GB")
    ]


def test_scopes_are_told_once() -> None:
    assert scope("/stages.1/stages.1.0/layers/layers.0/layers.0.0/Conv") == "/stages.1.0/layers.0.0/Conv"
    assert scope("Conv_1") == "Conv_1" and scope("/a.1/a.10/Conv") == "/a.1/a.10/Conv"


def test_the_costliest_come_in_the_networks_order() -> None:
    network = Inspected("x", 3, [layer(1, 10), layer(1, 1000), layer(1, 1), layer(1, 2000)])
    assert [each.read_bytes for each in network.costliest(2)] == [1000, 2000]
    assert any("not a measurement" in line for line in summary(network))


def test_a_bundle_is_told_network_by_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "found.json"
    assert main(["inspect", str(DEMO_BUNDLE), "--top", "2", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if line and not line.startswith((" ", "/", "layer", "…"))] == [
        *("context int8", "colorizer int8", "recognizer int8")
    ]
    assert printed.count("a bound from the board's limits, not a measurement") == 3
    found = json.loads(file.read_text())
    assert [network["network"] for network in found] == ["context int8", "colorizer int8", "recognizer int8"]
    for network in found:
        assert network["totals"]["multiply_adds"] == sum(layer["multiply_adds"] for layer in network["layers"])
        for board, least in network["bounds"].items():
            assert least["total_ms"] == pytest.approx(sum(layer["bounds_ms"][board] for layer in network["layers"]))


def test_one_network_of_a_bundle_or_one_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(DEMO_BUNDLE), "--model", "colorizer", "--precision", "int8"]) == 0
    assert capsys.readouterr().out.startswith("colorizer int8\n")
    assert main(["inspect", str(DEMO_BUNDLE / "context.int8.onnx"), "--top", "0"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("context.int8.onnx\n") and "layers of the largest bounds" not in printed


def external(name: str) -> TensorProto:
    """A constant whose values lie in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1, 3], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=f"{name}.bin")
    return tensor


def bad_graph(folder: Path, kind: str) -> Path:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3] if kind == "dynamic" else [1, 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    nodes = [node("Relu", "x", "y")]
    if kind == "branch":
        leaf = helper.make_graph([node("Relu", "x", "out")], "leaf", [], [helper.make_empty_tensor_value_info("out")])
        c = numpy_helper.from_array(np.array(True), "c")
        nodes = [
            node("Identity", "x", "z"),
            helper.make_node("If", ["c"], ["y"], "branch", then_branch=leaf, else_branch=leaf),
        ]
        model = helper.make_model(helper.make_graph(nodes, "g", [x], [y], [c]))
    else:
        model = helper.make_model(helper.make_graph(nodes, "g", [x], [y]))
    onnx.save(model, folder / f"{kind}.onnx")
    return folder / f"{kind}.onnx"


@pytest.mark.parametrize(
    ("kind", "message"),
    [("dynamic", "Relu y: the shape of x is not fixed"), ("branch", "If branch: has a graph within")],
)
def test_a_graph_that_cannot_be_counted_is_one_line(
    kind: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(bad_graph(tmp_path, kind))]) == 3
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["{tmp}/absent.onnx"], 3, "cannot read the graph: No such file"),
        (["{tmp}/garbage.onnx"], 3, "not an ONNX file"),
        (["{tmp}/empty.onnx"], 3, "empty.onnx: the file: it holds no graph: run tapetum-build export"),
        (["{tmp}/parted.onnx"], 3, "weights: its values lie in another file, weights.bin"),
        (["{tmp}/garbage.onnx", "--model", "context"], 2, "choose from a bundle"),
        (["{tmp}"], 4, "manifest"),
        (["{demo}", "--precision", "fp32"], 4, "has no fp32 context"),
        (["{tmp}/absent.engine"], 4, "no sidecar"),
        (["{demo}", "--json", "{tmp}/no/such/folder.json"], 1, "folder.json: cannot write: No such file"),
        (["{demo}", "--json", "."], 1, "cannot write: "),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "garbage.onnx").write_bytes(b"garbage")
    (tmp_path / "empty.onnx").touch()
    parted = helper.make_model(helper.make_graph([node("Add", "x weights", "y")], "g", [], [], [external("weights")]))
    (tmp_path / "parted.onnx").write_bytes(parted.SerializeToString())
    assert main(["inspect", *(a.format(tmp=tmp_path, demo=DEMO_BUNDLE) for a in arguments)]) == code
    error = capsys.readouterr().err
    assert error.startswith("tapetum-build: ") and message in error and error.count("\n") == 1


def test_nobody_reads_on(tmp_path: Path) -> None:
    """As behind `| head`."""
    command = [sys.executable, "-m", "trt_build", "inspect", str(DEMO_BUNDLE)]
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert ended.returncode == 128 + signal.SIGPIPE and ended.stderr == b""


def write_sidecar(engine: Path, *, gpu: str | None = "Orin") -> None:
    """Of an engine that was built on a Jetson, or without `gpu` of a dry run."""
    spec = TensorSpec(dtype="float32", shape=(1, 1, 32, 32))
    sidecar = Sidecar(
        model="context",
        precision="fp16",
        onnx_sha256="0" * 64,
        engine_sha256=hashlib.sha256(engine.read_bytes()).hexdigest(),
        engine_bytes=engine.stat().st_size,
        tensorrt="10.3.0",
        cuda="12.6",
        l4t="36.4.3",
        gpu=gpu,
        compute_capability=gpu and "8.7",
        inputs={"luma": spec},
        outputs={"context": spec},
        flags=Flags(),
        calibration_sha256=None,
        created_at=datetime(2024, 1, 2, tzinfo=timezone.utc),
        dry_run=gpu is None,
    )
    sidecar_path(engine).write_text(sidecar.model_dump_json(by_alias=True))


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """A file that is whole by its sidecar; what is in it matters only on the GPU that it was built for."""
    path = tmp_path / "context.fp16.0123456789ab.engine"
    path.write_bytes(b"engine")
    write_sidecar(path)
    return path


def test_an_engine_of_another_machine_is_told_by_its_sidecar(
    engine: Path, tensorrt: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    file = engine.with_name("found.json")
    assert main(["inspect", str(engine), "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("context fp16\n")
    assert "Orin, compute capability 8.7" in printed and "luma float32[1, 1, 32, 32]" in printed
    assert "not shown: TensorRT tells them on the GPU of the engine alone: " in printed
    found = json.loads(file.read_text())
    assert found["sidecar"]["schema"] == 1 and found["layers"] is None and found["hidden"]


def test_a_dry_run_is_told_as_one(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sidecar(engine, gpu=None)
    assert main(["inspect", str(engine)]) == 0
    assert "none: a dry run" in capsys.readouterr().out


def test_an_altered_engine_is_one_line(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine.write_bytes(b"enginX")
    assert main(["inspect", str(engine)]) == 4
    error = capsys.readouterr().err
    assert "sha256 differs from its sidecar" in error and error.count("\n") == 1


def test_not_onnx_at_all_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x\.onnx: cannot read the graph"):
        load_graph(tmp_path / "x.onnx")
