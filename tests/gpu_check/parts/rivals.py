"""The merge without our kernel: PyTorch, as it is and compiled, and CV-CUDA."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.gpu_check.driver import need_driver
from tests.gpu_check.figures import Figures, NotHereError
from tests.gpu_check.moved import CELLS, merge_bytes
from tests.gpu_check.parts.kernel import ROTATED_BYTES, SIZES
from tests.gpu_check.timing import measured
from tests.gpu_check.torch_merge import TorchMerge, by_events, torch_device
from tests.kernels import oracle

Merge = Callable[[Tensor, Tensor], Tensor]
Pair = tuple[Tensor, Tensor]


def torch_eager(figures: Figures) -> None:
    """PyTorch's operators one by one."""
    need_driver()
    device = torch_device()
    with torch.inference_mode():
        measure(figures, TorchMerge().to(device), device)


def torch_compiled(figures: Figures) -> None:
    """PyTorch's compiler, which fuses them."""
    need_driver()
    device = torch_device()
    with torch.inference_mode():
        measure(figures, torch.compile(TorchMerge().to(device), dynamic=False), device, SIZES[:3])


def measure(figures: Figures, merge: Merge, device: torch.device, sizes: Sequence[tuple[int, int]] = SIZES) -> None:
    """Error against the oracle, then the time of one frame among many in a row, and of one waited for."""
    figures["error_levels"] = error_of(merge, device)
    timed = by_events(device)
    for width, height in sizes:
        with figures.going_on(f"{width}x{height}"):
            frames = _frames(width, height, device)
            in_turn = cycle(frames)
            row = measured(timed(partial(_all, merge, frames)), measured_s=0.5, fewest=5)
            alone = measured(timed(partial(_next, merge, in_turn)), measured_s=0.5, fewest=20)
            each = {name: value / len(frames) if name.endswith("_ms") else value for name, value in row.items()}
            figures[f"nearest {width}x{height}"] = {**each, "frames_in_a_row": len(frames), "one_waited_for": alone}


def error_of(merge: Merge, device: torch.device) -> dict[str, float]:
    """Mean and largest error of a frame of 640x480."""
    luma, ab = _frame(640, 480, np.random.default_rng(1))
    expected = oracle.nv12(oracle.picture(luma, ab))
    found = merge(torch.from_numpy(luma).to(device), torch.from_numpy(ab).to(device)).cpu().numpy()
    error = np.abs(found - expected)
    return {"mean": float(error.mean()), "highest": float(error.max())}


def cvcuda(figures: Figures) -> None:
    """CV-CUDA's route in 8 bits: resize, L put in, Lab to BGR, BGR to NV12."""
    need_driver()
    try:
        import cvcuda as library  # type: ignore[import-not-found]
    except ImportError as error:
        raise NotHereError(f"no CV-CUDA on this machine ({error})") from error
    device = torch_device()
    stream = library.as_stream(torch.cuda.current_stream().cuda_stream)
    for width, height in SIZES[:3]:
        with figures.going_on(f"{width}x{height}"):
            work = _cvcuda_route(library, width, height, device, stream)
            figures[f"nearest {width}x{height}"] = measured(by_events(device)(work), measured_s=0.5)


def _cvcuda_route(library: Any, width: int, height: int, device: torch.device, stream: Any) -> Callable[[], None]:
    def image(rows: int, columns: int, channels: int) -> Tensor:
        return torch.randint(0, 256, (1, rows, columns, channels), dtype=torch.uint8, device=device)

    cells, lab, bgr = image(CELLS, CELLS, 3), image(height, width, 3), image(height, width, 3)
    nv12, lightness = image(height * 3 // 2, width, 1), image(height, width, 1)
    wrapped = [library.as_tensor(each, "NHWC") for each in (cells, lab, bgr, nv12)]
    codes = library.ColorConversion

    def work() -> None:
        library.resize_into(wrapped[1], wrapped[0], library.Interp.NEAREST, stream=stream)
        lab[..., :1] = lightness
        library.cvtcolor_into(wrapped[2], wrapped[1], codes.Lab2BGR, stream=stream)
        library.cvtcolor_into(wrapped[3], wrapped[2], codes.BGR2YUV_NV12, stream=stream)

    return work


def _next(merge: Merge, in_turn: Iterator[Pair]) -> None:
    merge(*next(in_turn))


def _all(merge: Merge, frames: Sequence[Pair]) -> None:
    for luma, ab in frames:
        merge(luma, ab)


def _frames(width: int, height: int, device: torch.device) -> list[Pair]:
    """As many as the kernel is measured with, but at most 16: they are far larger than what they leave between."""
    count = min(16, max(2, ROTATED_BYTES // merge_bytes(width, height)))
    rng = np.random.default_rng(0)
    luma, ab = (torch.from_numpy(array).to(device) for array in _frame(width, height, rng))
    return [(luma.clone(), ab.clone()) for _ in range(count)]


def _frame(width: int, height: int, rng: np.random.Generator) -> tuple[Any, Any]:
    luma = rng.integers(0, 256, (height, width), dtype=np.uint8)
    return luma, rng.uniform(-60, 60, (2, CELLS, CELLS)).astype(np.float32)
