"""What TensorRT supports: the table against NVIDIA's own parser, entry by entry, and what it refuses, in one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge.bundles.manifest import MODEL_NAMES, Precision
from edge.errors import InputError
from tests.training.test_network_export import NETWORKS, example
from tests.trt_build.operator_graphs import BROKEN, BUILDER, EIGHT, MATRIX, NOBODY, PARSER, PICTURE, TAKEN, graph_of
from training.onnx_graphs import write_fp32
from trt_build.checks.operators import UnsupportedError, check_graph, violations
from trt_build.checks.table import REFUSED, TABLE
from trt_build.folding import fold
from trt_build.graphs import graph_path


@pytest.fixture(scope="module")
def taken(tensorrt: Any) -> Taken:
    """NVIDIA's parser and builder, silent."""

    class Silent(tensorrt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            tensorrt.ILogger.__init__(self)

        def log(self, severity: object, message: str) -> None:
            pass

    return Taken(tensorrt, Silent())


class Taken:
    """What TensorRT itself says to a graph."""

    def __init__(self, tensorrt: Any, logger: Any) -> None:
        self._tensorrt, self._logger = tensorrt, logger
        self._builder = tensorrt.Builder(logger)

    def by_parser(self, model: onnx.ModelProto) -> str:
        """What the parser says against it; nothing if it takes it."""
        return self._parsed(model)[1]

    def by_builder(self, model: onnx.ModelProto) -> bool:
        """Whether an engine comes of it."""
        network, _ = self._parsed(model)
        return self._builder.build_serialized_network(network, self._builder.create_builder_config()) is not None

    def _parsed(self, model: onnx.ModelProto) -> tuple[Any, str]:
        strongly_typed = 1 << int(self._tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        network = self._builder.create_network(strongly_typed)
        parser = self._tensorrt.OnnxParser(network, self._logger)
        if parser.parse(model.SerializeToString()):
            return network, ""
        return network, "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))


def test_the_table_is_tested_whole() -> None:
    assert set(TAKEN) == set(TABLE)


@pytest.mark.parametrize("operator", sorted(TABLE))
def test_tensorrt_takes_what_the_table_says(operator: str, taken: Taken) -> None:
    model = graph_of(*TAKEN[operator])
    assert operator in {node.op_type for node in model.graph.node}
    onnx.checker.check_model(model, full_check=True)
    assert violations(model) == []
    assert taken.by_parser(model) == ""


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_a_limit_is_named_with_its_cure(name: str, taken: Taken) -> None:
    graph, message, who = BROKEN[name]
    model = graph_of(*graph)
    found = violations(model)
    assert found and re.search(message, str(found[0]))
    assert all(violation.reason and violation.cure for violation in found)
    assert (PARSER if taken.by_parser(model) else NOBODY if taken.by_builder(model) else BUILDER) == who


def test_every_refused_operator_has_its_reason() -> None:
    assert not set(REFUSED) & set(TABLE)
    assert all(reason and cure for reason, cure in REFUSED.values())


def test_a_graph_within_a_node_is_refused() -> None:
    branch = onnx.parser.parse_graph("b () => (float[1] r) { r = Constant <value_floats = [1.0]> () }")
    choice = helper.make_node("If", ["c"], ["r"], "choose", then_branch=branch, else_branch=branch)
    compare = helper.make_node("Less", ["x", "x"], ["c"])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xr")
    graph = helper.make_graph([compare, choice], "g", [x], [y])
    found = violations(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    assert [str(v) for v in found] == [
        "choose (If): what branches or loops cannot become one CUDA graph: unroll it in PyTorch"
    ]


def test_an_operator_of_another_domain_is_refused() -> None:
    model = graph_of(PICTURE, "", "y = Relu (x)")
    model.graph.node[0].domain = "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert "an operator of com.microsoft, not of ONNX" in str(violations(model)[0])


def test_what_only_follows_is_not_told() -> None:
    """The output of an unknown operator has no known shape, and so on to the end of the graph."""
    model = graph_of(MATRIX, "", "n = NonZero (x) f = Cast <to = 1> (n) g = Relu (f) y = Exp (g)")
    assert [violation.operator for violation in violations(model)] == ["NonZero"]


@pytest.mark.parametrize("name", NETWORKS)
def test_tensorrt_takes_every_network(name: str, taken: Taken, tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    inputs = example(name)
    outputs = ["boxes", "scores", "labels"] if name.startswith("recognizer") else ["output"]
    write_fp32(NETWORKS[name]().eval(), inputs, path, inputs=["luma", "other"][: len(inputs)], outputs=outputs)
    check_graph(path)
    model = onnx.load(path)
    assert taken.by_parser(model) == ""
    nodes = len(model.graph.node)
    fold(model)
    assert len(model.graph.node) < nodes and taken.by_parser(model) == ""
    assert not {"Constant", "ConstantOfShape"} & {node.op_type for node in model.graph.node}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_tensorrt_takes_the_exported_graphs(precision: Precision, graphs: Path, taken: Taken) -> None:
    for name in MODEL_NAMES:
        check_graph(graph_path(graphs, name, precision))
        assert taken.by_parser(onnx.load(graph_path(graphs, name, precision))) == ""


def test_not_an_onnx_file_and_an_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    with pytest.raises(InputError, match=r"graph\.onnx: cannot read the graph: No such file or directory"):
        check_graph(path)
    path.write_bytes(b"garbage that is no graph")
    with pytest.raises(InputError, match=r"graph\.onnx: not an ONNX file"):
        check_graph(path)
    path.write_bytes(b"")
    with pytest.raises(UnsupportedError, match=r"graph\.onnx: the file: it holds no graph: run tapetum-build export"):
        check_graph(path)


def test_a_dynamic_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    onnx.save(graph_of("float[batch,1,64,64] x", "", "y = Relu (x)"), path)
    with pytest.raises(
        UnsupportedError, match=r"input x: its shape is not fixed \(batchx1x64x64\): export with a fixed size"
    ):
        check_graph(path)


def test_weights_in_another_file_are_refused_whether_it_is_there_or_not(tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    onnx.save(_with_weights(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    for step in ("there", "missing"):
        if step == "missing":
            (tmp_path / "weights.bin").unlink()
        with pytest.raises(UnsupportedError, match=r"w: its values lie in another file, weights\.bin") as caught:
            check_graph(path)
        assert "\n" not in str(caught.value)


def test_many_violations_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    onnx.save(graph_of(MATRIX, "", "a = Sin (x) b = Cos (a) c = Tan (b) d = Sin (c) y = Cos (d)"), path)
    with pytest.raises(UnsupportedError, match=r"a \(Sin\).*b \(Cos\).*c \(Tan\).*\(and 2 more\)$"):
        check_graph(path)


def test_an_invalid_graph_is_refused() -> None:
    model = graph_of(PICTURE, "", "y = Relu (x)")
    model.graph.node[0].input[0] = "nothing"
    assert "not valid ONNX" in str(violations(model)[0])


def test_folding_computes_constants_and_leaves_int8_weights() -> None:
    weights = "int8[2,4,1,1] w = {1, 2, 3, 4, 5, 6, 7, 8}, float s = {0.5}, int8 z = {0}"
    nodes = "a = Add (s, s) d = DequantizeLinear (w, a, z) c = Conv (x, d) n = Shape (c) y = Reshape (c, n)"
    model = graph_of(PICTURE, weights, nodes)
    fold(model)
    assert [node.op_type for node in model.graph.node] == ["DequantizeLinear", "Conv", "Shape", "Reshape"]
    kept = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert set(kept) == {"w", "a", "z"} and kept["a"] == 1.0 and kept["w"].dtype == np.int8


@pytest.mark.parametrize(
    ("constants", "nodes", "words"),
    [
        (
            "int64[2] s = {40000, 40000}",
            "c = ConstantOfShape (s) m = ReduceMean <keepdims = 0> (c) y = Add (x, m)",
            "1600000000 numbers",
        ),
        (
            "int64[1] s = {2199023255552}, float[1] o = {1}",
            "c = Tile (o, s) m = ReduceMean <keepdims = 0> (c) y = Add (x, m)",
            "2199023255552 numbers",
        ),
        (
            "int64[1] i = {9}, float[2] o = {1, 2}",
            "c = Gather (o, i) y = Add (x, c)",
            "cannot be computed (IndexError)",
        ),
    ],
)
def test_constants_that_cannot_be_computed_are_refused_at_once(constants: str, nodes: str, words: str) -> None:
    (violation,) = violations(graph_of(PICTURE, constants, nodes))
    assert words in str(violation)


def _with_weights() -> onnx.ModelProto:
    model = graph_of(PICTURE, f"float[2,4,1,1] w = {{{EIGHT}}}", "y = Conv (x, w)")
    raw = numpy_helper.from_array(numpy_helper.to_array(model.graph.initializer[0]), "w")
    model.graph.initializer[0].CopyFrom(raw)  # what is kept elsewhere are raw bytes
    return model


def test_a_damaged_file_is_refused_in_one_line_or_is_sound(tmp_path: Path) -> None:
    path, rng = tmp_path / "graph.onnx", np.random.default_rng(0)
    whole = np.frombuffer(_with_weights().SerializeToString(), np.uint8)
    refused = 0
    for _ in range(300):
        damaged = whole[: rng.integers(len(whole) // 2, len(whole) + 1)].copy()
        damaged[rng.integers(len(damaged), size=2)] = rng.integers(256, size=2)
        path.write_bytes(damaged.tobytes())
        try:
            check_graph(path)
        except InputError as error:
            refused += 1
            assert str(error).startswith(str(path)) and str(error).isprintable()
    assert refused > 200
