"""The merge in PyTorch's own operators: what one writes without a kernel, and what is compared with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.gpu_check.timing import Once, by_the_clock
from tests.kernels.oracle import LINEAR_SRGB_TO_XYZ, LUMA_WEIGHTS, WHITE_D65, lightness


class TorchMerge(torch.nn.Module):
    """uint8[H, W] and float[2, h, w] to NV12 uint8[H * 3 // 2, W], in float32; even sizes, nearest cell, BT.601."""

    def __init__(self) -> None:
        super().__init__()
        self.to_rgb: Tensor
        self.f_of_greys: Tensor
        to_rgb = np.linalg.inv(LINEAR_SRGB_TO_XYZ) * WHITE_D65
        f_of_greys = (lightness(np.arange(256)) + 16) / 116
        self.register_buffer("to_rgb", torch.tensor(to_rgb, dtype=torch.float32))
        self.register_buffer("f_of_greys", torch.tensor(f_of_greys, dtype=torch.float32))

    def forward(self, luma: Tensor, ab: Tensor) -> Tensor:
        height, width = luma.shape
        a, b = F.interpolate(ab[None].float(), size=(height, width), mode="nearest-exact")[0].unbind()
        f = self.f_of_greys[luma.int()]
        xyz = torch.stack([_inverse_f(f + a / 500), _inverse_f(f), _inverse_f(f - b / 200)])
        linear = torch.einsum("rx,xhw->rhw", self.to_rgb, xyz).clamp(0, 1)
        rgb = torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp(min=1e-6) ** (1 / 2.4) - 0.055)
        red, green, blue = rgb.unbind()
        kr, kg, kb = LUMA_WEIGHTS["bt601"]
        grey = kr * red + kg * green + kb * blue
        chroma = torch.stack([(blue - grey) / (2 - 2 * kb), (red - grey) / (2 - 2 * kr)])
        cbcr = 128 + 224 * F.avg_pool2d(chroma, 2)
        y = _rounded(16 + 219 * grey)
        return torch.cat([y, _rounded(cbcr).permute(1, 2, 0).reshape(height // 2, width)])


def _inverse_f(t: Tensor) -> Tensor:
    return torch.where(t > 6 / 29, t**3, 3 * (6 / 29) ** 2 * (t - 4 / 29))


def _rounded(values: Tensor) -> Tensor:
    return (values + 0.5).to(torch.uint8)


def torch_device() -> torch.device:
    """The GPU for PyTorch.

    Raises:
        RuntimeError: this PyTorch has none.
    """
    if not torch.cuda.is_available():
        raise RuntimeError(f"PyTorch {torch.__version__} sees no GPU: install one that is built for CUDA")
    return torch.device("cuda")


def by_events(device: torch.device) -> Callable[[Callable[[], Any]], Once]:
    """Times work as `Bench.by_events` does; on a CPU by the clock."""
    if device.type == "cpu":
        return by_the_clock

    def timed(work: Callable[[], Any]) -> Once:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

        def once() -> float:
            start.record()
            work()
            end.record()
            end.synchronize()
            return float(start.elapsed_time(end))

        return once

    return timed


def as_graph(work: Callable[[], Any]) -> Callable[[], None]:
    """Work as one CUDA graph; it has run before, on the same tensors."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # as PyTorch asks for
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay
