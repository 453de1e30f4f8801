"""The native libraries of one process must get on with one another."""

from __future__ import annotations

import subprocess
import sys

import pytest

ORDERS = ("edge.inference.onnx, edge.video.gi", "edge.video.gi, edge.inference.onnx")
THROW = """
import {order}
import openvino
core = openvino.Core()
parameter = openvino.opset8.parameter([1])
model = openvino.Model([openvino.opset8.relu(parameter)], [parameter])
try:
    core.compile_model(model, "CPU", {{"NO_SUCH_SETTING": "1"}})
except RuntimeError:
    print("caught")
"""


@pytest.mark.parametrize("order", ORDERS)
def test_an_error_in_the_cpu_runtime_is_an_exception_beside_gstreamer(order: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", THROW.format(order=order)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stdout) == (0, "caught\n"), result.stderr
