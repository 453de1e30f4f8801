"""What every Runner must do, run on each implementation; ONNX Runtime is the independent judge."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge.bundles.manifest import TensorSpec
from edge.engines.store import Flags
from edge.errors import BundleError
from edge.inference.base import Runner, Specs
from edge.inference.engine import TensorRtRunner
from edge.inference.onnx import OnnxRunner
from tests.gpu import NEEDS_GPU
from trt_build.engines.builder import build_engine


@dataclass(frozen=True)
class Open:
    """An implementation: its class, and what makes the file that it reads from an ONNX file."""

    runner: Callable[..., Runner]
    prepare: Callable[[Path], Path]

    def __call__(self, path: Path, inputs: Specs, outputs: Specs) -> Runner:
        return self.runner(self.prepare(path), inputs, outputs)


def engine_of(path: Path) -> Path:
    engine = path.with_suffix(".engine")
    engine.write_bytes(build_engine(path, Flags()).engine)
    return engine


ONNX = Open(OnnxRunner, lambda path: path)
TENSORRT = Open(TensorRtRunner, engine_of)


@pytest.fixture(params=[pytest.param(ONNX, id="onnx"), pytest.param(TENSORRT, id="tensorrt", marks=NEEDS_GPU)])
def open_runner(request) -> Open:
    return request.param


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[Any, ...]],
    outputs: dict[str, tuple[Any, ...]],
    constants: dict[str, np.ndarray] | None = None,
    int64: tuple[str, ...] = (),
) -> Path:
    def value(name: str, shape: tuple[Any, ...]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.INT64 if name in int64 else TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        nodes,
        "test",
        [value(name, shape) for name, shape in inputs.items()],
        [value(name, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def specs(path: Path) -> tuple[dict[str, TensorSpec], dict[str, TensorSpec]]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    dtypes = {"tensor(float)": "float32", "tensor(int64)": "int64"}

    def of(values: Any) -> dict[str, TensorSpec]:
        return {value.name: TensorSpec(dtype=dtypes[value.type], shape=tuple(value.shape)) for value in values}

    return of(session.get_inputs()), of(session.get_outputs())


def judge(path: Path, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, arrays), strict=True))


def uniform(*shape: int, seed: int = 0, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def convolution(folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """Two inputs, two outputs, a strided convolution and an activation: the colorizer in small."""
    path = save(
        folder / "convolution.onnx",
        [
            helper.make_node("Conv", ["image", "weight"], ["features"], pads=[1, 1, 1, 1], strides=[2, 2]),
            helper.make_node("Add", ["features", "context"], ["fused"]),
            helper.make_node("Relu", ["fused"], ["positive"]),
            helper.make_node("Tanh", ["fused"], ["bounded"]),
        ],
        {"image": (1, 3, 32, 32), "context": (1, 8, 1, 1)},
        {"positive": (1, 8, 16, 16), "bounded": (1, 8, 16, 16)},
        {"weight": uniform(8, 3, 3, 3, low=-1)},
    )
    return path, {"image": uniform(1, 3, 32, 32), "context": uniform(1, 8, 1, 1, seed=1, low=-1)}


def grid_sample(folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """Bilinear sampling at any place, also outside: how RoIAlign is written."""
    path = save(
        folder / "grid_sample.onnx",
        [
            helper.make_node(
                "GridSample", ["image", "grid"], ["patch"], mode="bilinear", padding_mode="zeros", align_corners=0
            )
        ],
        {"image": (1, 4, 20, 30), "grid": (1, 7, 7, 2)},
        {"patch": (1, 4, 7, 7)},
    )
    return path, {"image": uniform(1, 4, 20, 30), "grid": uniform(1, 7, 7, 2, seed=1, low=-1.2, high=1.2)}


def top_k(folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """An int64 output and a gather by it: how proposals are chosen."""
    path = save(
        folder / "top_k.onnx",
        [
            helper.make_node("TopK", ["scores", "k"], ["best", "order"], axis=1),
            helper.make_node("GatherElements", ["scores", "order"], ["gathered"], axis=1),
        ],
        {"scores": (1, 1000)},
        {"best": (1, 300), "order": (1, 300), "gathered": (1, 300)},
        {"k": np.array([300], np.int64)},
        int64=("order",),
    )
    scores = np.random.default_rng(0).permutation(1000).astype(np.float32)[None] / 1000
    return path, {"scores": scores}


def quantised(folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """A Q/DQ convolution as TensorRT takes it: symmetric 8-bit activations, 8-bit weights per channel."""
    weight = np.random.default_rng(0).integers(-127, 128, (8, 3, 3, 3)).astype(np.int8)
    path = save(
        folder / "quantised.onnx",
        [
            helper.make_node("QuantizeLinear", ["image", "step", "zero"], ["levels"]),
            helper.make_node("DequantizeLinear", ["levels", "step", "zero"], ["picture"]),
            helper.make_node("DequantizeLinear", ["weight", "steps", "zeros"], ["kernel"], axis=0),
            helper.make_node("Conv", ["picture", "kernel"], ["features"], pads=[1, 1, 1, 1]),
        ],
        {"image": (1, 3, 32, 32)},
        {"features": (1, 8, 32, 32)},
        {
            "weight": weight,
            "step": np.float32(1 / 127),
            "zero": np.int8(0),
            "steps": np.full(8, 1 / 127, np.float32),
            "zeros": np.zeros(8, np.int8),
        },
    )
    return path, {"image": uniform(1, 3, 32, 32)}


@pytest.mark.parametrize("network", [convolution, grid_sample, top_k, quantised])
def test_results_are_those_of_onnx_runtime(open_runner: Open, network, tmp_path):
    path, arrays = network(tmp_path)
    expected = judge(path, arrays)
    with open_runner(path, *specs(path)) as runner:
        results = runner.run(arrays)
    assert results.keys() == expected.keys()
    for name, array in expected.items():
        assert results[name].dtype == array.dtype
        np.testing.assert_allclose(results[name], array, atol=1e-4, err_msg=name)


def test_fp32_is_computed_in_fp32(open_runner: Open, tmp_path):
    """CPUs with bf16 and GPUs with TF32 must not use them unasked: 8 bits less would show here."""
    path = save(
        tmp_path / "sum.onnx",
        [helper.make_node("MatMul", ["x", "weight"], ["y"])],
        {"x": (64, 256)},
        {"y": (64, 64)},
        {"weight": uniform(256, 64, seed=1)},
    )
    x = uniform(64, 256)
    with open_runner(path, *specs(path)) as runner:
        np.testing.assert_allclose(runner.run({"x": x})["y"], judge(path, {"x": x})["y"], rtol=1e-5)


def test_declared_tensors_are_told(open_runner: Open, tmp_path):
    path, _ = top_k(tmp_path)
    with open_runner(path, *specs(path)) as runner:
        assert runner.inputs == {"scores": TensorSpec(dtype="float32", shape=(1, 1000))}
        assert runner.outputs["order"] == TensorSpec(dtype="int64", shape=(1, 300))


def test_it_runs_again_and_again_and_keeps_no_state(open_runner: Open, tmp_path):
    path, arrays = convolution(tmp_path)
    other = {name: 1 - array for name, array in arrays.items()}
    with open_runner(path, *specs(path)) as runner:
        first = runner.run(arrays)["bounded"].copy()
        assert not np.allclose(runner.run(other)["bounded"], first)
        np.testing.assert_array_equal(runner.run(arrays)["bounded"], first)


def test_two_runners_of_one_graph_do_not_share_results(open_runner: Open, tmp_path):
    path, arrays = convolution(tmp_path)
    with open_runner(path, *specs(path)) as one, open_runner(path, *specs(path)) as two:
        result = one.run(arrays)["bounded"]
        kept = result.copy()
        two.run({name: 1 - array for name, array in arrays.items()})
        np.testing.assert_array_equal(result, kept)


def test_it_may_be_opened_run_and_closed_by_different_threads(open_runner: Open, tmp_path):
    path, arrays = convolution(tmp_path)

    def in_a_thread(function: Callable[..., Any], *arguments: Any) -> Any:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(function, *arguments).result()

    runner = in_a_thread(open_runner, path, *specs(path))
    expected = judge(path, arrays)["bounded"]
    for _ in range(2):
        np.testing.assert_allclose(in_a_thread(runner.run, arrays)["bounded"], expected, atol=1e-4)
    np.testing.assert_allclose(runner.run(arrays)["bounded"], expected, atol=1e-4)
    in_a_thread(runner.close)


@pytest.mark.parametrize("view", [lambda x: x[..., ::-1], lambda x: x.swapaxes(2, 3), np.asfortranarray])
def test_inputs_may_have_any_strides_and_are_left_alone(open_runner: Open, view, tmp_path):
    path, arrays = convolution(tmp_path)
    strided = {**arrays, "image": view(arrays["image"])}
    kept = strided["image"].copy()
    with open_runner(path, *specs(path)) as runner:
        results = runner.run(strided)
        np.testing.assert_allclose(results["bounded"], judge(path, {**arrays, "image": kept})["bounded"], atol=1e-5)
    np.testing.assert_array_equal(strided["image"], kept)


MISTAKES = {
    "missing": (lambda arrays: {"image": arrays["image"]}, "inputs must be"),
    "unknown": (lambda arrays: {**arrays, "luma": arrays["image"]}, "inputs must be"),
    "misspelt": (lambda arrays: {"Image": arrays["image"], "context": arrays["context"]}, "inputs must be"),
    "shape": (
        lambda arrays: {**arrays, "image": arrays["image"][:, :, 1:]},
        r"image must be float32\[1, 3, 32, 32\]",
    ),
    "axes": (lambda arrays: {**arrays, "image": arrays["image"][0]}, "image must be"),
    "dtype": (lambda arrays: {**arrays, "image": arrays["image"].astype(np.float64)}, "not float64"),
}


@pytest.mark.parametrize("mistake, message", MISTAKES.values(), ids=MISTAKES.keys())
def test_wrong_inputs_are_refused(open_runner: Open, mistake, message, tmp_path):
    path, arrays = convolution(tmp_path)
    with open_runner(path, *specs(path)) as runner:
        with pytest.raises(ValueError, match=message):
            runner.run(mistake(arrays))
        assert runner.run(arrays).keys() == {"positive", "bounded"}, "and it still works"


def test_a_closed_runner_refuses_to_run(open_runner: Open, tmp_path):
    path, arrays = convolution(tmp_path)
    runner = open_runner(path, *specs(path))
    runner.close()
    runner.close()
    with pytest.raises(ValueError, match="closed"):
        runner.run(arrays)


DIFFERENCES = {
    "shape": {"image": TensorSpec(dtype="float32", shape=(1, 3, 64, 64))},
    "dtype": {"image": TensorSpec(dtype="int64", shape=(1, 3, 32, 32))},
    "one more": {"extra": TensorSpec(dtype="float32", shape=(1,))},
}


@pytest.mark.parametrize("difference", DIFFERENCES.values(), ids=DIFFERENCES.keys())
def test_a_graph_that_is_not_what_the_manifest_declares_is_refused(open_runner: Open, difference, tmp_path):
    path, _ = convolution(tmp_path)
    inputs, outputs = specs(path)
    with pytest.raises(BundleError, match=r"convolution\.\w+: its inputs are .*32, 32\], but the manifest declares"):
        open_runner(path, {**inputs, **difference}, outputs)


def test_declared_outputs_are_compared_too(open_runner: Open, tmp_path):
    path, _ = convolution(tmp_path)
    inputs, outputs = specs(path)
    del outputs["bounded"]
    with pytest.raises(BundleError, match=r"its outputs are bounded float32\[1, 8, 16, 16\], positive"):
        open_runner(path, inputs, outputs)


def test_a_graph_of_open_shape_is_refused(tmp_path):
    """No engine of one is ever built."""
    path = save(
        tmp_path / "open.onnx", [helper.make_node("Relu", ["x"], ["y"])], {"x": ("batch", 4)}, {"y": ("batch", 4)}
    )
    spec = TensorSpec(dtype="float32", shape=(1, 4))
    with pytest.raises(BundleError, match=r"x float32\[\?, 4\]"):
        ONNX(path, {"x": spec}, {"y": spec})


def unknown_operator(path: Path) -> None:
    node = helper.make_node("Dream", ["x"], ["y"], domain="nowhere")
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1,)) for name in "xy"]
    graph = helper.make_graph([node], "test", value[:1], value[1:])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("nowhere", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)


BROKEN = {
    "missing": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"not a network" * 100),
    "unknown operator": unknown_operator,
}


@pytest.mark.parametrize("make", BROKEN.values(), ids=BROKEN.keys())
def test_a_file_that_is_no_graph_is_one_clear_line(open_runner: Open, make, tmp_path, capfd):
    path = tmp_path / "broken.onnx"
    make(path)
    spec = TensorSpec(dtype="float32", shape=(1,))
    with pytest.raises(BundleError, match=r"broken\.onnx: ") as caught:
        open_runner.runner(path, {"x": spec}, {"y": spec})
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_threads_and_cache_change_nothing_but_speed(tmp_path):
    path, arrays = convolution(tmp_path)
    expected = judge(path, arrays)["bounded"]
    for _ in range(2):
        with OnnxRunner(path, *specs(path), threads=1, cache_dir=tmp_path / "cache") as runner:
            np.testing.assert_allclose(runner.run(arrays)["bounded"], expected, atol=1e-5)
    assert any((tmp_path / "cache").iterdir())


def test_a_broken_cache_is_made_anew(tmp_path):
    path, arrays = convolution(tmp_path)
    cache = tmp_path / "cache"
    OnnxRunner(path, *specs(path), cache_dir=cache).close()
    for file in cache.iterdir():
        file.chmod(0o600)  # the cache's files may be read-only
        file.write_bytes(b"half a file")
        file.chmod(0o400)
    with OnnxRunner(path, *specs(path), cache_dir=cache) as runner:
        np.testing.assert_allclose(runner.run(arrays)["bounded"], judge(path, arrays)["bounded"], atol=1e-5)


def test_a_cache_that_cannot_be_written_is_no_reason_to_stop(tmp_path, caplog):
    path, arrays = convolution(tmp_path)
    (tmp_path / "file").touch()
    with OnnxRunner(path, *specs(path), cache_dir=tmp_path / "file" / "cache") as runner:
        assert runner.run(arrays)
    assert "compiled networks are not kept" in caplog.text


LOAD_AND_RUN = """
import sys

def report(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "os.fork", "subprocess.Popen"):
        print(event, arguments)

sys.addaudithook(report)
import numpy
from pathlib import Path
from edge.bundles.manifest import TensorSpec
from {module} import {name} as Runner

best = TensorSpec(dtype="float32", shape=(1, 300))
outputs = {{"best": best, "gathered": best, "order": TensorSpec(dtype="int64", shape=(1, 300))}}
with Runner(Path("{file}"), {{"scores": TensorSpec(dtype="float32", shape=(1, 1000))}}, outputs) as runner:
    runner.run({{"scores": numpy.zeros((1, 1000), numpy.float32)}})
"""


def test_nobody_is_told(open_runner: Open, tmp_path):
    """Import, load and run: no connection, no process, nothing in the home folder."""
    path, _ = top_k(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    runner = open_runner.runner
    script = LOAD_AND_RUN.format(module=runner.__module__, name=runner.__name__, file=open_runner.prepare(path))
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == ""
    assert list(home.iterdir()) == []
