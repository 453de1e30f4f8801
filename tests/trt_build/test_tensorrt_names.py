"""Every name of TensorRT that the code uses exists in each version that it is made for.

The names come from the syntax trees of all files that speak of `trt`, the answers from NVIDIA's own Python modules,
each in a process of its own. What a name belongs to is followed from `trt` through calls and assignments.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.tensorrt_runtime import BINDINGS, DOWNLOAD_S, OLDER_VERSIONS, older_bindings, tensorrt_folder

ROOT = Path(__file__).parents[2]
NEWEST = BINDINGS.rpartition("=")[2]
VERSIONS = (*OLDER_VERSIONS, NEWEST)

# Names that some version lacks, and why the code may use them all the same. One that is no longer needed must go.
GUARDED: dict[str, str] = {}

# What calls return, as far as the code goes on with it.
RETURNS = {
    "Builder.create_builder_config": "IBuilderConfig",
    "Builder.create_network": "INetworkDefinition",
    "Builder.create_optimization_profile": "IOptimizationProfile",
    "IBuilderConfig.create_timing_cache": "ITimingCache",
    "IBuilderConfig.get_timing_cache": "ITimingCache",
    "ICudaEngine.create_engine_inspector": "EngineInspector",
    "ICudaEngine.create_execution_context": "IExecutionContext",
    "ICudaEngine.get_tensor_dtype": "DataType",
    "ICudaEngine.get_tensor_mode": "TensorIOMode",
    "INetworkDefinition.add_activation": "IActivationLayer",
    "OnnxParser.get_error": "ParserError",
    "Runtime.deserialize_cuda_engine": "ICudaEngine",
}
# What is known by its name: arguments of type Any, attributes of our objects, what our functions make of TensorRT's.
OBJECTS = {
    "builder": "Builder",
    "config": "IBuilderConfig",
    "engine": "ICudaEngine",
    "error": "ParserError",
    "execution": "IExecutionContext",
    "inspector": "EngineInspector",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "runtime": "Runtime",
}


@dataclass(frozen=True)
class Held:
    """What an expression gives: an object of a class, or a name on the module; the module itself is the name ""."""

    name: str
    is_object: bool = False

    def attribute(self, name: str) -> str:
        return f"{self.name}.{name}" if self.name else name


class Names(ast.NodeVisitor):
    """Collects "Class.name" for every name of TensorRT in a file, and "Class.name(keyword)" for keywords of calls."""

    def __init__(self) -> None:
        self.found: set[str] = set()
        self._variables: dict[str, Held] = {}

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outside = dict(self._variables)
        for argument in (*node.args.args, *node.args.kwonlyargs):
            self._variables.pop(argument.arg, None)
            if isinstance(argument.annotation, ast.Name) and argument.annotation.id == "Any":
                self._variables |= _object(argument.arg)
        self.generic_visit(node)
        self._variables = outside

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Methods that override TensorRT's are names of TensorRT."""
        for base in filter(None, map(self._held, node.bases)):
            methods = (item.name for item in node.body if isinstance(item, ast.FunctionDef))
            self.found.update(base.attribute(method) for method in methods if not method.startswith("_"))
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        for target in node.targets:
            self._bind(target, node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.generic_visit(node)
        if node.value:
            self._bind(node.target, node.value)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        owner = self._held(node.value)
        if owner and not node.attr.startswith("__"):
            self.found.add(owner.attribute(node.attr))

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute) and (owner := self._held(node.func.value)):
            name = owner.attribute(node.func.attr)
            self.found.update(f"{name}({keyword.arg})" for keyword in node.keywords)

    def _bind(self, target: ast.expr, value: ast.expr) -> None:
        if not isinstance(target, ast.Name):
            return
        self._variables.pop(target.id, None)
        held = self._held(value)
        if held:
            self._variables[target.id] = held
        elif isinstance(value, ast.Call) and any(map(self._held, value.args)):  # a function of ours makes it
            self._variables |= _object(target.id)

    def _held(self, node: ast.expr) -> Held | None:
        if isinstance(node, ast.Name):
            return Held("") if node.id == "trt" else self._variables.get(node.id)
        if isinstance(node, ast.Attribute):
            return self._attribute(node)
        if isinstance(node, ast.Call):
            return self._returned(node.func)
        return None

    def _attribute(self, node: ast.Attribute) -> Held | None:
        owner = self._held(node.value)
        if owner:
            return None if owner.is_object else Held(owner.attribute(node.attr))
        of_ours = isinstance(node.value, ast.Name) and node.value.id == "self"
        return _object(node.attr.lstrip("_")).get(node.attr.lstrip("_")) if of_ours else None

    def _returned(self, called: ast.expr) -> Held | None:
        """A class gives an object of it, a method what `RETURNS` says."""
        held = self._held(called)
        if held:
            return Held(held.name, is_object=True)
        owner = self._held(called.value) if isinstance(called, ast.Attribute) else None
        name = RETURNS.get(owner.attribute(called.attr)) if owner and isinstance(called, ast.Attribute) else None
        return Held(name, is_object=True) if name else None


def _object(name: str) -> dict[str, Held]:
    return {name: Held(OBJECTS[name], is_object=True)} if name in OBJECTS else {}


def names_in(source: str) -> set[str]:
    collector = Names()
    collector.visit(ast.parse(source))
    return collector.found


def sources() -> Iterator[str]:
    """Files with a variable or an argument `trt`."""
    for package in ("edge", "trt_build"):
        for path in sorted((ROOT / package).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            nodes = ast.walk(ast.parse(text))
            if any("trt" in (getattr(node, "id", ""), getattr(node, "arg", "")) for node in nodes):
                yield text


# What each process runs: names on standard input, those that are missing on standard output.
CHECK = """
import json, re, sys
import tensorrt as trt

def exists(name):
    path, _, keyword = name.rstrip(")").partition("(")
    found = trt
    for part in path.split("."):
        if not hasattr(found, part):
            return False
        found = getattr(found, part)
    documented = found.__init__.__doc__ if isinstance(found, type) else found.__doc__
    return not keyword or re.search(rf"\\b{keyword}: ", documented) is not None

names = json.load(sys.stdin)
print(json.dumps({"version": trt.__version__, "missing": [name for name in names if not exists(name)]}))
"""


def missing(version: str, names: set[str]) -> set[str]:
    """Those names that a version does not have."""
    folder = tensorrt_folder() if version == NEWEST else older_bindings(version)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHECK],
        input=json.dumps(sorted(names)),
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    answer = json.loads(done.stdout)
    assert answer["version"] == version
    return set(answer["missing"])


@pytest.fixture(scope="module")
def used() -> set[str]:
    return set().union(*map(names_in, sources()))


def test_the_names_are_found(used: set[str]) -> None:
    """The collector sees through the code as it is written: what certainly is used is among what it found."""
    assert {
        "Builder",
        "Builder.build_serialized_network",
        "IBuilderConfig.builder_optimization_level",
        "IBuilderConfig.progress_monitor",
        "IBuilderConfig.set_timing_cache(ignore_mismatch)",
        "ICudaEngine.get_tensor_mode",
        "IExecutionContext.execute_async_v3",
        "ILogger.Severity.WARNING",
        "ILogger.log",
        "IProgressMonitor.step_complete",
        "ITimingCache.serialize",
        "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
        "OnnxParser.num_errors",
        "ParserError.node_name",
        "Runtime.deserialize_cuda_engine",
        "EngineInspector.get_engine_information",
        "ActivationType.CLIP",
    } <= used


@pytest.mark.timeout(2 * DOWNLOAD_S)
def test_each_exists_in_every_version(used: set[str]) -> None:
    lacking = {version: missing(version, used) for version in VERSIONS}
    assert set().union(*lacking.values()) == set(GUARDED), lacking


WRONG = """
def build(trt: Any, config: Any, path: Path):
    builder = trt.Builder(trt.Logger())
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
    config.set_flag(trt.BuilderFlag.FP16)
    builder.platform_has_fast_fp16
    engine = trt.Runtime(trt.Logger()).deserialize_cuda_engine(builder.build_serialized_network(network, config))
    engine.device_memory_size
    engine.created_by_nobody(size=1)
    config.set_memory_pool_limit(pool=1, no_such_keyword=2)
    path.not_of_tensorrt
"""


@pytest.mark.timeout(2 * DOWNLOAD_S)
def test_a_wrong_name_is_found() -> None:
    names = names_in(WRONG)
    assert not any("not_of_tensorrt" in name for name in names)
    always = {"ICudaEngine.created_by_nobody", "ICudaEngine.created_by_nobody(size)"}
    always |= {"IBuilderConfig.set_memory_pool_limit(no_such_keyword)"}
    assert missing("10.3.0", names) == always
    removed = {"NetworkDefinitionCreationFlag.EXPLICIT_BATCH", "BuilderFlag.FP16", "Builder.platform_has_fast_fp16"}
    assert missing(NEWEST, names) == always | removed | {"ICudaEngine.device_memory_size"}


def test_a_name_belongs_to_what_the_variable_holds() -> None:
    source = (
        "network = torch_network()\nnetwork.eval()\nnetwork = trt.Builder(1).create_network(0)\nnetwork.num_layers"
    )
    assert names_in(source) == {"Builder", "Builder.create_network", "INetworkDefinition.num_layers"}
    assert names_in("def f(engine: Path):\n    engine.read_bytes()") == set()
    assert names_in("config = ours(1)\nconfig.x\nconfig = ours(trt)\nconfig.y") == {"IBuilderConfig.y"}
    assert names_in("def f(self):\n    self._engine.num_io_tensors") == {"ICudaEngine.num_io_tensors"}
