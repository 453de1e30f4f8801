"""The import rules of the three packages, read from the syntax trees of all their files."""

from __future__ import annotations

import ast
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
        ("paho", "edge/telemetry/mqtt.py"),
        ("openvino", "edge/inference/onnx.py"),
        ("tensorrt", "edge/inference/tensorrt.py"),
        ("pycuda", "edge/inference/cuda.py"),
    ],
)
def test_an_awkward_library_is_imported_by_one_file(library: str, file: str) -> None:
    assert set(importers("edge", library)) == ({file} if (ROOT / file).exists() else set())


def test_training_takes_from_the_edge_what_runs_networks_on_files_and_nothing_from_the_build() -> None:
    """So that a bundle is judged as it runs; the live service (sources, lanes, telemetry) is none of its business."""
    parts = "arguments atomic bundle errors inference kernels manifest media networks preprocess scene types"
    allowed = ("edge.__version__", *(f"edge.{part}" for part in parts.split()))
    for path, names in importers("training", "edge").items():
        assert all(_is_part_of(name, allowed) for name in names), path
    assert importers("training", "trt_build") == {}


@pytest.mark.parametrize("part", ["models", "losses", "data"])
def test_networks_losses_and_data_run_nothing(part: str) -> None:
    allowed = tuple(f"edge.{name}" for name in ("arguments", "errors", "media", "types", "atomic", "preprocess"))
    for path, names in importers("training", "edge").items():
        if path.startswith(f"training/{part}/"):
            assert all(_is_part_of(name, allowed) for name in names), path


def test_the_build_takes_little_from_training() -> None:
    allowed = {
        "trt_build/export.py": ("training.checkpoint", "training.models", "training.onnx_graphs"),
        "trt_build/quantize.py": ("training.onnx_graphs",),
        "trt_build/evaluate.py": ("training.judging.judge", "training.metrics"),
    }
    for path, names in importers("trt_build", "training").items():
        assert all(_is_part_of(name, allowed.get(path, ())) for name in names), path


@pytest.mark.parametrize("package", PACKAGES)
def test_files_are_short(package: str) -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files(package)}
    assert [f"{path}: {count} lines" for path, count in lines.items() if count > LONGEST_FILE] == []
