"""ONNX Runtime against OpenVINO on the three networks, in both precisions, interleaved in one run.

    python -m tests.benchmarks.runtimes GRAPHS [--threads N] [--rounds N]

GRAPHS is the folder that `tapetum-build export` and `quantize` fill. Prints one JSON object: network -> precision ->
runtime -> {median_ms, p90_ms}, and how much the two runtimes' answers differ.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edge.bundles.manifest import MODEL_NAMES, ModelName, Precision
from edge.inference.onnx import OnnxRunner
from trt_build.graphs import graph_path, read_interface, session

Run = Callable[[], dict[str, Any]]


def runners(graphs: Path, name: ModelName, precision: Precision, threads: int) -> dict[str, Run]:
    """Both runtimes on the same graph and the same input."""
    path = graph_path(graphs, name, precision)
    inputs, outputs = read_interface(path)
    generator = np.random.default_rng(0)
    feed = {key: generator.random(spec.shape, np.float32) for key, spec in inputs.items()}
    reference = session(path, threads=threads)
    runner = OnnxRunner(path, inputs, outputs, threads=threads)
    return {
        "onnxruntime": lambda: dict(zip(outputs, reference.run(list(outputs), feed), strict=True)),
        "openvino": lambda: dict(runner.run(feed)),
    }


def measure(graphs: Path, threads: int, rounds: int) -> dict[str, Any]:
    """Each network in turn; within a network all combinations take turns, so that a noisy machine hits them alike."""
    table: dict[str, Any] = {}
    for name in MODEL_NAMES:
        runs = {
            (precision, runtime): run
            for precision in ("fp32", "int8")
            for runtime, run in runners(graphs, name, precision, threads).items()
        }
        times: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
        for number in range(rounds + 3):
            for key, run in runs.items():
                started = time.perf_counter()
                run()
                if number >= 3:  # warm-up
                    times[key].append((time.perf_counter() - started) * 1e3)
        table[name] = {}
        for (precision, runtime), values in times.items():
            median, p90 = np.percentile(values, (50, 90)).round(2).tolist()
            table[name].setdefault(precision, {})[runtime] = {"median_ms": median, "p90_ms": p90}
    return table


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graphs", type=Path)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    table = measure(options.graphs, options.threads, options.rounds)
    print(json.dumps({"threads": options.threads, "rounds": options.rounds, "networks": table}, indent=1))


if __name__ == "__main__":
    main()
