"""The whole way of a frame in PyTorch's operators: what the GPU path is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from edge.bundles.manifest import ModelEntry, ModelName
from edge.types import UInt8Array
from edge.video.nv12 import from_luma
from edge.vision.base import Colourist
from tests.gpu_check.parts.networks import torch_network
from tests.gpu_check.torch_merge import TorchMerge

STILL, MOVING = 4, 16  # luma levels, as in lab_merge.cu


class TorchColourist(Colourist):
    """FP16 networks of random weights on a GPU, FP32 on a CPU; even frame sizes. A stream of its own."""

    def __init__(
        self, variant: str, models: Mapping[ModelName, ModelEntry], device: torch.device, *, smoothing: float
    ) -> None:
        self._device, self._smoothing = device, smoothing
        self._dtype = torch.float16 if device.type == "cuda" else torch.float32
        self._context, self._colorizer = (
            torch_network(variant, name, models[name]).to(device, self._dtype) for name in ("context", "colorizer")
        )
        self._sizes = {name: models[name].input_size for name in ("context", "colorizer")}
        self._merge = TorchMerge().to(device)
        self._stream: Any = torch.cuda.Stream() if device.type == "cuda" else None
        self._vector: Tensor | None = None
        self._last: tuple[Tensor, Tensor] | None = None  # chroma as shown, and the cells' luma
        self._cells: Tensor | None = None

    def renew_context(self, luma: UInt8Array) -> None:
        with torch.inference_mode(), self._on_stream():
            self._vector = self._context(self._squashed(self._up(luma), "context"))

    def nv12(self, luma: UInt8Array) -> UInt8Array:
        with torch.inference_mode(), self._on_stream():
            frame = self._up(luma)
            ab = self._colorizer(self._squashed(frame, "colorizer"), self._vector)[0].float()
            return np.array(self._merge(frame, self._filtered(frame, ab)).cpu().numpy())

    def grey(self, luma: UInt8Array) -> UInt8Array:
        return from_luma(luma)

    @property
    def cells(self) -> UInt8Array:
        assert self._cells is not None, "nv12 comes first"
        return np.asarray(self._cells.round().byte().cpu().numpy())

    def forget(self) -> None:
        self._last = None

    def close(self) -> None:
        self._last = self._vector = self._cells = None

    def _filtered(self, frame: Tensor, ab: Tensor) -> Tensor:
        """The chroma filter of `MergeKernel.filter_chroma`."""
        cells = F.adaptive_avg_pool2d(frame[None].float(), (ab.shape[1], ab.shape[2]))
        self._cells = cells[0]
        blurred = F.avg_pool2d(cells, 3, 1, 1, count_include_pad=False)
        if self._last is not None:
            motion = ((blurred - self._last[1]).abs() - STILL) / (MOVING - STILL)
            ab = ab + self._smoothing * (1 - motion.clamp(0, 1)) * (self._last[0] - ab)
        self._last = ab, blurred
        return ab

    def _squashed(self, frame: Tensor, name: str) -> Tensor:
        size = self._sizes[name]
        return (F.interpolate(frame[None, None].float(), size=size, mode="area") / 255).to(self._dtype)

    def _up(self, luma: UInt8Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(luma)).to(self._device)

    def _on_stream(self) -> Any:
        return torch.cuda.stream(self._stream) if self._stream is not None else nullcontext()
