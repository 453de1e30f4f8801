"""Seconds per image of a network in several runtimes, all taking turns in one run.

Only ratios within one run mean anything: machines differ, and so does one machine from minute to minute.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from edge.bundles.manifest import TensorSpec
from edge.inference.base import Runner
from edge.inference.onnx import OnnxRunner
from training.onnx_graphs import write_fp32, write_int8

Run = Callable[[], object]
BACKENDS = ("pytorch_fp32", "onnxruntime_fp32", "onnxruntime_int8", "openvino_fp32", "openvino_int8")
# Nodes that INT8 leaves alone, by part of their name, in every network alike: suppression's matrix products, which
# count boxes, and the layers that look at raw pixels or give the answer.
KEEP = ("/MatMul_", "/rpn_", "/class_logits/", "/refine/", "/stem/", "/conv1/", "/ab/")


@contextmanager
def runs_of(network: nn.Module, example: tuple[Tensor, ...], device: torch.device) -> Iterator[dict[str, Run]]:
    """The network on one example in each of `BACKENDS`; on a GPU in PyTorch alone, also in FP16."""
    network.eval()
    if device.type == "cuda":
        half = pytorch_run(network, example, device, half=True)
        yield {"pytorch_fp32": pytorch_run(network, example, device), "pytorch_fp16": half}
        return
    with tempfile.TemporaryDirectory() as scratch:
        fp32, int8 = Path(scratch) / "fp32.onnx", Path(scratch) / "int8.onnx"
        feed = {f"input{i}": value.numpy() for i, value in enumerate(example)}
        with torch.no_grad():
            answer = network(*example)
        outputs = {f"output{i}": value for i, value in enumerate(answer if isinstance(answer, tuple) else (answer,))}
        write_fp32(network, example, fp32, inputs=list(feed), outputs=list(outputs))
        write_int8(fp32, int8, [feed], keep=KEEP)
        specs = _specs(feed), _specs({name: value.numpy() for name, value in outputs.items()})
        with _runner(fp32, *specs) as openvino_fp32, _runner(int8, *specs) as openvino_int8:
            yield {
                "pytorch_fp32": pytorch_run(network, example, device),
                "onnxruntime_fp32": _session(fp32, feed),
                "onnxruntime_int8": _session(int8, feed),
                "openvino_fp32": lambda: openvino_fp32.run(feed),
                "openvino_int8": lambda: openvino_int8.run(feed),
            }


def _specs(arrays: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {
        name: TensorSpec.model_validate({"dtype": str(array.dtype), "shape": array.shape})
        for name, array in arrays.items()
    }


def _runner(path: Path, inputs: dict[str, TensorSpec], outputs: dict[str, TensorSpec]) -> Runner:
    """What the service runs."""
    return OnnxRunner(path, inputs, outputs, threads=torch.get_num_threads())


def pytorch_run(network: nn.Module, example: tuple[Tensor, ...], device: torch.device, *, half: bool = False) -> Run:
    """The network in PyTorch, to the end of its work on the device."""
    network = network.to(device).eval()
    moved = tuple(value.to(device) for value in example)

    @torch.inference_mode()
    def run() -> None:
        with torch.autocast(device.type, torch.float16, enabled=half):
            network(*moved)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return run


def _session(path: Path, feed: Mapping[str, Any]) -> Run:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, dict(feed))


def interleaved(runs: Mapping[str, Run], *, rounds: int, warm_up: int = 2) -> dict[str, float]:
    """Median seconds of each run; in every round each has its turn, so that a noisy machine hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(warm_up + rounds):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if number >= warm_up:
                times[name].append(time.perf_counter() - started)
    return {name: float(np.median(values)) for name, values in times.items()}
