"""Engines against their graphs: the comparison on real runners, and the command as far as it goes without a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edge.bundles.bundle import Bundle, load_bundle, read_manifest
from edge.bundles.manifest import MODEL_NAMES, PRECISIONS, ModelName
from edge.engines.store import Target
from edge.errors import BundleError, InputError
from edge.inference.base import Runner
from edge.inference.cuda import find_gpu
from edge.inference.onnx import OnnxRunner
from edge.types import Detections
from tests.edge.spoilt_bundle import with_graph
from tests.edge.tiny_bundle import make_tiny_bundle
from tests.trt_build.tiny_graphs import spoil
from trt_build.__main__ import main
from trt_build.commands.verify import PAGE, REPORT, write_results
from trt_build.graphs import read_interface
from trt_build.signing import make_keys, read_private_key, sign
from trt_build.verification.bundle import Open, verify_bundle
from trt_build.verification.compare import Comparison
from trt_build.verification.limits import LIMITS
from trt_build.verification.matching import iou, match
from trt_build.verification.reference import ReferenceRunner

needs_no_gpu = pytest.mark.skipif(find_gpu() is not None, reason="tells what a machine without a GPU gets")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four night frames with something bright in each: one object for the tiny recognizer, "dog"."""
    folder = tmp_path_factory.mktemp("frames")
    random = np.random.default_rng(0)
    for i in range(4):
        luma = random.integers(0, 120, (240, 320), np.uint8)
        luma[60 : 120 + 8 * i, 80:160] = 250
        cv2.imwrite(str(folder / f"{i}.png"), luma)
    return sorted(folder.iterdir())


def on_openvino(bundle: Bundle) -> Open:
    """Another real runner in the engines' place."""

    def open_runner(model: ModelName) -> Runner:
        entry = bundle.manifest.models[model]
        return OnnxRunner(bundle.model_path(model), entry.inputs, entry.outputs, threads=1)

    return open_runner


def compare(reference: Path, engines: Path, frames: list[Path], precision: str = "fp32") -> dict[str, Comparison]:
    judged, ran = load_bundle(reference, precision), load_bundle(engines, precision)
    return {c.model: c for c in verify_bundle(judged, on_openvino(ran), frames)}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_same_graph_on_another_runtime_is_within_the_limits(bundle, frames, precision):
    found = compare(bundle, bundle, frames, precision)
    assert [c.exceeded for c in found.values()] == [[], [], []]
    assert found["colorizer"].measures["ab_max"] < 1e-3 if precision == "fp32" else True
    assert found["recognizer"].measures["objects"] == 2 * 4 * 2, "dog and cat, in four frames, on both sides"
    assert all(c.frames == 4 for c in found.values())


DAMAGES = {
    "context": ("context", {"scale": 1.01}, "context fp32: context_relative_p99"),
    "colorizer": ("ab", {"shift": 3.0}, "colorizer fp32: ciede2000_mean"),
    "recognizer boxes": ("boxes", {"scale": 1.04}, "recognizer fp32: matched_iou90"),
    "recognizer scores": ("scores", {"scale": 0.5}, "recognizer fp32: matched_iou50 0, limit at least 0.99"),
    "nan": ("ab", {"shift": float("nan")}, "colorizer fp32: not_finite"),
    "infinity": ("scores", {"shift": float("inf")}, "recognizer fp32: not_finite 400, limit at most 0"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_engine_is_told_with_measure_value_and_limit(bundle, frames, damage, tmp_path):
    output, change, message = damage
    damaged = make_tiny_bundle(tmp_path / "damaged")
    model = message.split()[0]
    spoil(damaged, model, "fp32", output, **change)
    found = compare(bundle, damaged, frames)
    assert found[model].exceeded[0].startswith(message)
    assert [c.exceeded for name, c in found.items() if name != model] == [[], []], "each network is judged alone"
    write_results(tmp_path / "out", load_bundle(bundle), list(found.values()), Target("11", None, None))


@pytest.fixture(scope="module")
def coarse(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle with a bad INT8 graph in the place of the colorizer's FP32: 8 levels of luma instead of 256."""
    path = bundle / read_manifest(bundle).models["colorizer"].precisions["int8"].file
    graph = onnx.load(path)
    step = next(node for node in graph.graph.node if node.output == ["step"])
    step.attribute[0].t.CopyFrom(numpy_helper.from_array(np.float32(1 / 8), "step_value"))
    return with_graph(bundle, tmp_path_factory.mktemp("coarse") / "bundle", "colorizer", graph.SerializeToString())


def test_a_bad_int8_engine_is_not_taken_for_fp32(bundle, coarse, frames):
    assert compare(bundle, coarse, frames)["colorizer"].exceeded[0].startswith("colorizer fp32: ciede2000_mean")
    assert compare(coarse, coarse, frames)["colorizer"].exceeded == [], "it is itself"


def test_another_precision_is_measured_without_limits(coarse, frames):
    ran = load_bundle(coarse, "int8")
    found = list(verify_bundle(ran, on_openvino(ran), frames, "fp32"))
    assert found[1].measures["ciede2000_mean"] > 0.5, "beyond INT8's own limit"
    assert [c.exceeded for c in found] == [[], [], []]


def test_errors_are_those_of_all_that_is_the_same_object(bundle, frames, tmp_path):
    """Boxes that are 10 % longer overlap with less than 0.9: their errors are told all the same."""
    damaged = make_tiny_bundle(tmp_path / "damaged")
    spoil(damaged, "recognizer", "fp32", "boxes", scale=1.1)
    measures = compare(bundle, damaged, frames)["recognizer"].measures
    assert measures["matched_iou50"] > 0.5 > measures["matched_iou90"]
    assert measures["boxes_max"] > 5
    assert measures["scores_max"] < 1e-3


def test_nothing_on_both_sides_is_agreement(frames, tmp_path):
    folder = make_tiny_bundle(tmp_path / "bundle")
    spoil(folder, "recognizer", "fp32", "scores", scale=0)
    found = compare(folder, folder, frames)["recognizer"]
    assert found.measures["objects"] == 0
    assert found.measures["matched_iou90"] == 1
    assert "boxes_max" not in found.measures
    assert found.exceeded == []


def test_nothing_where_the_reference_has_objects_is_not(bundle, frames, tmp_path):
    folder = make_tiny_bundle(tmp_path / "bundle")
    spoil(folder, "recognizer", "fp32", "scores", scale=0)
    for reference, engines in ((bundle, folder), (folder, bundle)):
        found = compare(reference, engines, frames)["recognizer"]
        assert found.measures["matched_iou90"] == 0
        assert found.exceeded


def test_frames_that_cannot_be_read_are_told_and_left_out(bundle, frames, tmp_path, caplog):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    found = compare(bundle, bundle, [broken, *frames])
    assert found["context"].frames == 4
    assert "broken.png: not an image, or cut short: left out" in caplog.text
    with pytest.raises(InputError, match="none of 1 frames can be read"):
        compare(bundle, bundle, [broken])


def test_the_worst_frames_come_first(bundle, frames, tmp_path):
    """Chroma of twice the size is most wrong where luma is brightest."""
    damaged = make_tiny_bundle(tmp_path / "damaged")
    spoil(damaged, "colorizer", "fp32", "ab", scale=1.5)
    errors = [answers.error for answers in compare(bundle, damaged, frames)["colorizer"].worst]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > errors[-1] > 0


def test_page_and_report(bundle, frames, tmp_path):
    damaged = make_tiny_bundle(tmp_path / "damaged")
    spoil(damaged, "colorizer", "fp32", "ab", shift=4.0)
    spoil(damaged, "recognizer", "fp32", "boxes", scale=1.3)
    found = list(compare(bundle, damaged, frames).values())
    write_results(tmp_path / "out", load_bundle(bundle), found, Target("11.4.0", "Orin", "8.7"))
    page = cv2.imread(str(tmp_path / "out" / PAGE))
    assert page.shape[1] > 900
    assert page.shape[0] > 8 * 240
    saturated = page.max(axis=2).astype(int) - page.min(axis=2)
    assert (saturated > 60).mean() > 0.01, "colours and boxes are in it"
    report = json.loads((tmp_path / "out" / REPORT).read_text())
    assert report["gpu"] == "Orin"
    assert report["models"]["colorizer"]["exceeded"] == found[1].exceeded
    assert report["models"]["recognizer"]["measures"]["matched_iou90"] < 0.5
    assert report["models"]["context"]["limits"]["context_relative_p99"] == "at most 0.0001"


def test_the_reference_computes_what_the_graph_states(tmp_path):
    """8-bit levels times 8-bit levels, in float: sums that would saturate the 16 bits of CPUs without VNNI."""
    path = tmp_path / "sum.onnx"
    taps = 64
    weight = np.full((1, taps), 127, np.int8)
    graph = onnx.parser.parse_model(
        f"""<ir_version: 9, opset_import: ["": 17]>
        sum (float[1, {taps}] x) => (float[1, 1] y) {{
            step = Constant <value = float {{0.01}}> ()
            zero = Constant <value = int8 {{0}}> ()
            levels = QuantizeLinear (x, step, zero)
            back = DequantizeLinear (levels, step, zero)
            kernel = DequantizeLinear (weight, step, zero)
            y = Gemm <transB = 1> (back, kernel)
        }}"""
    )
    graph.graph.initializer.append(numpy_helper.from_array(weight, "weight"))
    onnx.save(graph, path)
    x = np.full((1, taps), 1.2749, np.float32)
    with ReferenceRunner(path, *read_interface(path)) as runner:
        found = runner.run({"x": x})["y"]
    np.testing.assert_allclose(found, taps * 1.27 * 1.27, rtol=1e-5)
    with pytest.raises(ValueError, match="closed"):
        runner.run({"x": x})


def test_a_reference_that_is_no_graph_is_one_line(tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a network")
    with pytest.raises(BundleError, match=r"broken\.onnx: ONNX Runtime cannot load it") as caught:
        ReferenceRunner(path, {}, {})
    assert "\n" not in str(caught.value)


def detections(*rows: tuple[float, float, float, float, int, float]) -> Detections:
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Detections(table[:, :4].astype(np.float32), table[:, 4].astype(np.int64), table[:, 5].astype(np.float32))


def test_each_object_is_matched_once_and_the_best_overlap_first():
    reference = detections((0, 0, 100, 100, 0, 0.9), (0, 0, 100, 96, 0, 0.9))
    engine = detections((0, 0, 100, 95, 0, 0.9))
    assert match(reference, engine, 0.9) == [(1, 0)]
    assert match(engine, reference, 0.9) == [(0, 1)]


UNLIKE = {
    "label": (0, 0, 100, 100, 1, 0.9),
    "score": (0, 0, 100, 100, 0, 0.79),
    "place": (0, 0, 100, 89, 0, 0.9),
    "no area": (50, 50, 50, 50, 0, 0.9),
}


@pytest.mark.parametrize("other", UNLIKE.values(), ids=UNLIKE.keys())
def test_what_is_not_the_same_object(other):
    assert match(detections((0, 0, 100, 100, 0, 0.9)), detections(other), 0.9) == []


def test_iou_of_boxes():
    a = np.array([(0, 0, 10, 10), (5, 5, 5, 5)], np.float32)
    b = np.array([(0, 0, 10, 10), (5, 0, 15, 10), (20, 20, 30, 30), (5, 5, 5, 5)], np.float32)
    np.testing.assert_allclose(iou(a, b), [(1, 50 / 150, 0, 0), (0, 0, 0, 0)])


@pytest.fixture
def signed(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A signed bundle and the public key."""
    bundle = make_tiny_bundle(tmp_path / "signed")
    private, public = make_keys(tmp_path / "site")
    sign(bundle, read_private_key(private))
    yield bundle, public


def test_a_signed_bundle(signed, capsys):
    bundle, key = signed
    assert main(["verify", str(bundle), "--public-key", str(key)]) == 0
    assert f"whole; signed by {key}" in capsys.readouterr().out


def test_without_a_key_it_says_that_nothing_was_checked(bundle, capsys):
    assert main(["verify", str(bundle)]) == 0
    assert "tiny 1.0: whole; its signature was not checked" in capsys.readouterr().out


def test_a_bundle_of_another_signer_is_refused(signed, tmp_path, capsys):
    _, other = make_keys(tmp_path / "other")
    assert main(["verify", str(signed[0]), "--public-key", str(other)]) == 4
    assert "signed by another key" in capsys.readouterr().err


def test_an_altered_graph_is_refused(signed, capsys):
    bundle, key = signed
    path = bundle / read_manifest(bundle).models["context"].precisions["fp32"].file
    path.write_bytes(path.read_bytes() + b"\0")
    assert main(["verify", str(bundle), "--public-key", str(key)]) == 4
    assert "altered" in capsys.readouterr().err


def test_options_that_need_frames(bundle, tmp_path, capsys):
    assert main(["verify", str(bundle), "--out", str(tmp_path / "out")]) == 2
    assert "give --frames" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@needs_no_gpu
def test_without_a_gpu_it_says_so_and_what_to_do(bundle, frames, capsys):
    assert main(["verify", str(bundle), "--frames", str(frames[0].parent)]) == 1
    assert capsys.readouterr().err == (
        "tapetum-build: no engine can run here: no NVIDIA GPU in this machine: run tapetum-build verify on the unit\n"
    )


def test_no_frames_is_an_input_error(bundle, tmp_path, capsys):
    assert main(["verify", str(bundle), "--frames", str(tmp_path / "none")]) == 3
    assert "neither a folder of images nor a .txt list" in capsys.readouterr().err


def test_it_needs_nothing_that_a_unit_does_not_have(bundle):
    """No training package, and none of its libraries, once all of the comparison is imported."""
    script = (
        "import sys, trt_build.commands.verify, trt_build.verification.bundle, trt_build.verification.page;"
        "print(*{name.partition('.')[0] for name in sys.modules} & {'torch', 'training', 'skimage', 'matplotlib'})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == ""


def test_every_network_and_precision_has_limits():
    for model in MODEL_NAMES:
        assert set(LIMITS[model]) == set(PRECISIONS)
        worst = [[limit.worst if limit.at_least else -limit.worst for limit in LIMITS[model][p]] for p in PRECISIONS]
        assert worst == sorted(worst, reverse=True), "an exacter precision has no wider limit"
