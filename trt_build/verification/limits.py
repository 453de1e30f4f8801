"""How far an engine may be from ONNX Runtime on the same graph. Beyond it, it does not compute what was measured.

No two runtimes round alike, and how much that shows depends on the precision. The field networks gave these figures
over 20 frames: how far OpenVINO and ONNX Runtime's own kernels are from the reference on the same graph, and beside
it how far that graph is from FP32::

                             FP32            FP16             INT8
    context_relative_p99     4e-6  | -       -    | 0.016     0.11 to 0.16 | 0.50
    ciede2000_mean           5e-6  | -       -    | 0.026     0.06 to 0.13 | 0.61
    ciede2000_p99            0     | -       -    | 0.59      0.74 to 1.0  | 3.0
    matched_iou50            1     | -       -    | 1         0.94 to 0.96 | 0.93
    matched_iou90            1     | -       -    | 0.99      0.73 to 0.79 | 0.68

An FP32 engine may differ by the order of its sums, and not by TF32's 10 bits of mantissa. FP16 on a GPU accumulates
in its own way: it may be two to three times as far as FP16 is from FP32. An INT8 engine may be twice as far as the
CPU runtimes are, which is nearer than INT8 is to FP32; of objects, as many may be lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edge.bundles.manifest import ModelName, Precision


@dataclass(frozen=True, slots=True)
class Limit:
    """The worst value that a measure may have."""

    measure: str
    worst: float
    at_least: bool = False

    def is_kept(self, value: float) -> bool:
        """Whether the value is good enough; NaN is not."""
        return value >= self.worst if self.at_least else value <= self.worst

    def __str__(self) -> str:
        return f"{'at least' if self.at_least else 'at most'} {self.worst:g}"


FINITE: Final = Limit("not_finite", 0)


def _context(relative_p99: float) -> tuple[Limit, ...]:
    return (FINITE, Limit("context_relative_p99", relative_p99))


def _colorizer(mean: float, p99: float) -> tuple[Limit, ...]:
    return (FINITE, Limit("ciede2000_mean", mean), Limit("ciede2000_p99", p99))


def _recognizer(iou50: float, iou90: float) -> tuple[Limit, ...]:
    return (FINITE, Limit("matched_iou50", iou50, at_least=True), Limit("matched_iou90", iou90, at_least=True))


LIMITS: Final[dict[ModelName, dict[Precision, tuple[Limit, ...]]]] = {
    "context": {"fp32": _context(1e-4), "fp16": _context(0.05), "int8": _context(0.3)},
    "colorizer": {"fp32": _colorizer(0.02, 1.0), "fp16": _colorizer(0.1, 1.5), "int8": _colorizer(0.3, 2.0)},
    "recognizer": {
        "fp32": _recognizer(0.99, 0.99),
        "fp16": _recognizer(0.98, 0.96),
        "int8": _recognizer(0.85, 0.6),
    },
}
