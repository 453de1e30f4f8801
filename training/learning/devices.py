"""Where a network is trained, and in which precision."""

from __future__ import annotations

import torch

from edge.errors import ConfigError

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(asked: str, local_rank: int = 0) -> torch.device:
    """The device of this process: of several on a machine, each has its own GPU.

    Raises:
        ConfigError: "cuda" was asked for, and there is no GPU for this process.
    """
    usable = torch.cuda.device_count() if asked != "cpu" and torch.cuda.is_available() else 0
    if asked == "cuda" and not usable:
        raise ConfigError("--device cuda: PyTorch finds no usable GPU here: use --device cpu, or see nvidia-smi")
    if asked == "cpu" or not usable:
        return torch.device("cpu")
    if local_rank >= usable:
        raise ConfigError(f"{usable} GPU(s) here: too few for process {local_rank + 1}: lower --nproc-per-node")
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return device


class Precision:
    """Of a training's forward pass: weights stay in float32, and float16 has its gradients scaled."""

    def __init__(self, asked: str = "fp32", device: torch.device | None = None) -> None:
        self.device = device or torch.device("cpu")
        if asked == "auto":
            asked = "fp32" if self.device.type == "cpu" else "bf16" if torch.cuda.is_bf16_supported() else "fp16"
        self.dtype = _DTYPES[asked]

    def autocast(self) -> torch.autocast:
        """Within it, operations that bear less precision have it."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def scaler(self) -> torch.amp.GradScaler:
        """Passes everything through unless the precision is float16, whose range small gradients fall below."""
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
