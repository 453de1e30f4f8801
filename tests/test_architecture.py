"""The import rules of the three packages, read from the syntax trees of all their files."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("edge", "training", "trt_build")
LONGEST_FILE = 260


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """What a file imports, at its top or below: "a.b" for `import a.b`, "a.b.c" for `from a.b import c`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def importers(package: str, library: str) -> dict[str, set[str]]:
    """File -> what it imports of a library, for the files of a package that import it."""
    found = {str(path.relative_to(ROOT)): _of(library, imports(path)) for path in files(package)}
    return {path: names for path, names in found.items() if names}


def _of(library: str, names: Iterator[str]) -> set[str]:
    return {name for name in names if name == library or name.startswith(f"{library}.")}


def _is_part_of(name: str, allowed: tuple[str, ...]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in allowed)


@pytest.mark.parametrize("package", PACKAGES)
def test_there_is_something_to_hold(package: str) -> None:
    assert importers(package, "edge")


@pytest.mark.parametrize("library", ["training", "trt_build", "torch", "onnx", "onnxruntime"])
def test_the_edge_stands_alone(library: str) -> None:
    assert importers("edge", library) == {}


@pytest.mark.parametrize(
    ("library", "file"),
    [
        ("gi", "edge/video/gi.py"),
        ("paho", "edge/telemetry/line.py"),
        ("sqlite3", "edge/telemetry/spool_file.py"),
        ("openvino", "edge/inference/onnx.py"),
        ("cryptography", "edge/bundles/signature.py"),
        ("tensorrt", "edge/inference/tensorrt.py"),
        ("pycuda", "edge/inference/cuda.py"),
    ],
)
def test_an_awkward_library_is_imported_by_one_file(library: str, file: str) -> None:
    assert set(importers("edge", library)) == ({file} if (ROOT / file).exists() else set())


def test_the_lanes_do_not_know_what_they_run_on() -> None:
    """One file opens backends; all else goes by edge/vision/base.py."""
    for backend in ("edge.vision.gpu", "edge.vision.cpu"):
        outside = {path for path in importers("edge", backend) if not path.startswith("edge/vision/gpu/")}
        assert outside == {"edge/vision/backend.py"}, backend
    opens = {"edge/live.py", "edge/incumbent.py", "edge/updates.py", "edge/tools/check.py"}
    assert importers("edge", "edge.vision.backend").keys() == opens
    for library in ("edge.inference", "edge.kernels", "edge.vision.networks"):
        assert "edge/lanes.py" not in importers("edge", library)


def test_training_takes_from_the_edge_what_runs_networks_on_files_and_nothing_from_the_build() -> None:
    """So that a bundle is judged as it runs; the live service (sources, lanes, telemetry) is none of its business."""
    parts = (
        "arguments atomic bundles errors inference kernels media types vision.networks vision.preprocess vision.scene"
    )
    allowed = ("edge.__version__", *(f"edge.{part}" for part in parts.split()))
    for path, names in importers("training", "edge").items():
        assert all(_is_part_of(name, allowed) for name in names), path
    assert importers("training", "trt_build") == {}


@pytest.mark.parametrize("part", ["models", "losses", "data"])
def test_networks_losses_and_data_run_nothing(part: str) -> None:
    allowed = tuple(
        f"edge.{name}" for name in ("arguments", "errors", "media", "types", "atomic", "vision.preprocess")
    )
    for path, names in importers("training", "edge").items():
        if path.startswith(f"training/{part}/"):
            assert all(_is_part_of(name, allowed) for name in names), path


def test_the_build_takes_little_from_training() -> None:
    allowed = {
        "trt_build/export.py": ("training.checkpoint", "training.models", "training.onnx_graphs"),
        "trt_build/checks/stages.py": ("training.models",),  # what it compares with
        "trt_build/commands/quantize.py": ("training.quantization",),
        "trt_build/precision/half.py": ("training.quantization",),
        "trt_build/precision/inputs.py": ("training.quantization",),
        "trt_build/precision/sensitivity.py": ("training.quantization",),
        "trt_build/precision/write.py": ("training.onnx_graphs", "training.quantization"),
        "trt_build/torch2trt.py": ("training.checkpoint", "training.models"),  # it converts what PyTorch runs
        "trt_build/judging/figures.py": ("training.judging.judge", "training.metrics"),
    }
    for path, names in importers("trt_build", "training").items():
        assert all(_is_part_of(name, allowed.get(path, ())) for name in names), path


@pytest.mark.parametrize("package", PACKAGES)
def test_files_are_short(package: str) -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files(package)}
    assert [f"{path}: {count} lines" for path, count in lines.items() if count > LONGEST_FILE] == []


def test_onnx_runtime_reports_to_nobody() -> None:
    """It asks for the directory where it keeps a telemetry identity as soon as it is imported."""
    program = "import trt_build.__main__, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    told = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert told.stdout == "1\n" and told.stderr == ""
