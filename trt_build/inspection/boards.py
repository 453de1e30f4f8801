"""What the boards can do at most, by NVIDIA's data sheets, at the highest power mode and clocks."""

from __future__ import annotations

from dataclasses import dataclass

from trt_build.inspection.layers import Arithmetic


@dataclass(frozen=True)
class Board:
    """Limits of a board's GPU, without sparsity and without DLA.

    Attributes:
        fp16_tflops, int8_tops: of the tensor cores; a multiply-add is two operations.
        bandwidth_gb_s: of the memory that it shares with the CPU, 10^9 bytes a second.
    """

    name: str
    fp16_tflops: float
    int8_tops: float
    bandwidth_gb_s: float

    def operations_per_s(self, arithmetic: Arithmetic) -> float:
        """FP32 by the CUDA cores, which reach an eighth of the tensor cores' FP16: TF32 is off (see `builder`)."""
        tera = {"fp32": self.fp16_tflops / 8, "fp16": self.fp16_tflops, "int8": self.int8_tops}
        return tera[arithmetic] * 1e12


BOARDS = (
    Board("Orin Nano Super", fp16_tflops=16.7, int8_tops=33.0, bandwidth_gb_s=102.0),
    Board("Orin NX 16 GB", fp16_tflops=19.0, int8_tops=38.0, bandwidth_gb_s=102.0),
    Board("AGX Orin 64 GB", fp16_tflops=42.6, int8_tops=85.0, bandwidth_gb_s=205.0),
)
