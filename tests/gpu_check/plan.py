"""The steps in their order: what matters most first, for the time of all together is limited."""

from __future__ import annotations

from collections.abc import Iterator

from tests.gpu_check.running import Step

TOTAL_S = 1140.0  # under 20 minutes, with a minute for the installation of a kit
VARIANTS = ("field", "paper")
NETWORKS = ("colorizer", "recognizer")
PRECISIONS = ("fp16", "int8")


def plan() -> list[Step]:
    """All steps. Each names what it is about: part/variant/network/runtime."""
    return [
        Step("machine", "machine", "describe"),
        Step("kernel/correct", "kernel", "correct", limit_s=120),
        Step("kernel/speed", "kernel", "speed", limit_s=120),
        *_prepared("field"),
        Step("frame/tensorrt", "frame", "ours", ("field",), 180),
        Step("frame/torch eager", "frame", "torch_eager", ("field",), 120),
        *_accuracy("field"),
        Step("kernel/torch eager", "rivals", "torch_eager", limit_s=60),
        *_prepared("paper"),
        *_accuracy("paper"),
        *_compiled(),
        Step("kernel/torch.compile", "rivals", "torch_compiled", limit_s=120),
        Step("kernel/cvcuda", "rivals", "cvcuda", limit_s=60),
        Step("kernel/sanitizer", "kernel", "sanitized", limit_s=240),
        Step("tests", "suite", "gpu_tests", limit_s=240),
    ]


def _prepared(variant: str) -> Iterator[Step]:
    yield Step(f"prepare/{variant}", "prepare", "bundle", (variant,), 300)
    for network in (*NETWORKS, "context") if variant == "field" else NETWORKS:
        for precision in PRECISIONS:
            about = (variant, network, precision)
            yield Step(f"networks/{variant}/{network}/tensorrt {precision}", "networks", "tensorrt", about, 120)
        about = (variant, network, "fp16")
        yield Step(f"networks/{variant}/{network}/onnxruntime fp16", "networks", "onnxruntime_cuda", about, 60)
        yield Step(f"networks/{variant}/{network}/torch eager fp16", "networks", "torch_eager", about[:2], 60)


def _accuracy(variant: str) -> Iterator[Step]:
    for precision in PRECISIONS:
        yield Step(f"accuracy/{variant}/{precision}", "accuracy", "engines", (variant, precision), 120)


def _compiled() -> Iterator[Step]:
    for variant in VARIANTS:
        for network in NETWORKS:
            name = f"networks/{variant}/{network}/torch.compile fp16"
            yield Step(name, "networks", "torch_compiled", (variant, network), 150)
