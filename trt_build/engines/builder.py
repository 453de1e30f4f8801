"""An ONNX graph to an engine, by TensorRT's own parser and builder.

The network is strongly typed: precision stands in the graph (FP16 tensors, Q/DQ pairs), so what was measured on the
CPU is what the engine computes. Every name used here exists in TensorRT 10.3 to 11.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.engines.store import Flags
from edge.errors import BundleError, InputError
from edge.inference.tensorrt import TensorRtError, collected_errors, load_tensorrt, tensorrt_logger, told
from trt_build.checks.operators import check_model
from trt_build.engines.phases import Phases, progress_monitor
from trt_build.engines.stoppable import Report, run_stoppable
from trt_build.graphs import parse_graph, read_content

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Built:
    """An engine as TensorRT serialises it, and the timing cache with what this build measured."""

    engine: bytes
    timing: bytes


def build_engine(
    onnx: Path,
    flags: Flags,
    report: Report = lambda phase, percent: None,
    timing: bytes = b"",
    *,
    sha256: str | None = None,
) -> Built:
    """Build an engine of an ONNX file; Ctrl-C stops it. The file is read once: what is checked is what is built.

    Args:
        onnx: a graph of fixed shapes, self-contained.
        flags: how to build.
        report: is told phase and percent while it goes on.
        timing: the timing cache of an earlier build with this TensorRT on this GPU; empty begins a new one.
        sha256: of the file, as the bundle's manifest has it; None takes any file.

    Raises:
        BundleError: it is another file.
        InputError: the graph holds what TensorRT does not support; all that its parser says, node by node.
        TensorRtError: TensorRT is missing, or cannot build the network.
    """
    content = read_content(onnx)
    if sha256 not in (None, hashlib.sha256(content).hexdigest()):
        raise BundleError(f"{onnx}: sha256 differs from the manifest: altered: install the bundle again")
    check_model(parse_graph(content, onnx), str(onnx))
    with collected_errors() as errors:
        built = _build(onnx, content, flags, report, timing, errors)
    if built is None:
        raise TensorRtError(f"{onnx}: TensorRT cannot build it: {told(errors)}")
    for error in errors:
        log.warning("%s: built, but TensorRT told: %s", onnx, error)
    return built


def _build(
    onnx: Path, content: bytes, flags: Flags, report: Report, timing: bytes, errors: list[str]
) -> Built | None:
    trt = load_tensorrt()
    try:
        builder = trt.Builder(tensorrt_logger())
    except TypeError as error:  # pybind11's word for a null pointer
        raise TensorRtError(f"TensorRT does not start here: {told(errors)}") from error
    network = _parse(trt, builder, onnx, content)
    config = configure(trt, builder, flags, timing)
    phases = Phases()
    monitor = progress_monitor(trt, phases)  # held here: TensorRT does not keep it alive
    config.progress_monitor = monitor
    plan = run_stoppable(lambda: builder.build_serialized_network(network, config), phases, report)
    if plan is None:
        return None
    return Built(bytes(plan), bytes(config.get_timing_cache().serialize()))


def configure(trt: Any, builder: Any, flags: Flags, timing: bytes) -> Any:
    """The IBuilderConfig of one build. TensorRT takes an empty timing cache for one that it cannot read."""
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, flags.workspace_mib << 20)
    config.builder_optimization_level = flags.level
    config.clear_flag(trt.BuilderFlag.TF32)  # FP32 is what was measured on the CPU
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # so that `inspect` can name the layers
    config.set_timing_cache(config.create_timing_cache(timing), ignore_mismatch=False)
    return config


def _parse(trt: Any, builder: Any, onnx: Path, content: bytes) -> Any:
    """The network of an ONNX file's content.

    Raises:
        InputError: with every error of the parser and the node that it speaks of.
    """
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, tensorrt_logger())
    if not parser.parse(content):
        faults = "; ".join(_explain(parser.get_error(index)) for index in range(parser.num_errors))
        raise InputError(f"{onnx}: TensorRT's parser refuses it: {faults}: change the network and export it again")
    return network


def _explain(error: Any) -> str:
    """One error of the parser, with the node that it is about and without the places in TensorRT's sources."""
    lines = [line for line in error.desc().splitlines() if not line.startswith("[")]
    where = f"node {error.node_name()} ({error.node_operator()}): " if error.node() >= 0 else ""
    return where + " ".join(" ".join(lines).split())
