"""Table 1: seconds per image of the recognizers at the paper's four sizes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor
from tqdm import tqdm

from training.models.catalogue import build
from training.models.fast_rcnn import SecondStage
from training.models.two_stage import TwoStage
from training.tables.timing import Run, interleaved, pytorch_run, runs_of

SIZES = ("128x128", "256x256", "512x512", "800x600")  # width x height
NETWORKS = {"vgg16": "Faster R-CNN (VGG-16)", "paper": "paper", "field": "field"}
# Tang, Zheng and Zhu, table 1; their Faster R-CNN and theirs
PAPER = {"Faster R-CNN": (0.75, 1.61, 3.26, 4.58), "paper": (0.58, 1.35, 2.95, 3.78)}
LABELS = 22
SECOND_STAGE = "second_stage_alone"  # in PyTorch FP32

Table1 = dict[str, dict[str, dict[str, float]]]  # size -> network -> backend -> seconds


def measure(sizes: Sequence[str], *, rounds: int, device: torch.device, networks: Sequence[str] = ()) -> Table1:
    """Time each network, untrained (time does not depend on the weights), at each size, all taking turns."""
    table: Table1 = {}
    for size in tqdm(sizes, desc="table 1", unit="size", disable=None):
        image = torch.rand(1, 1, *padded(size))
        with ExitStack() as stack:
            runs = {}
            for name in networks or NETWORKS:
                network = build("recognizer", name, labels=LABELS, input_size=padded(size))
                assert isinstance(network, TwoStage)
                for backend, run in stack.enter_context(runs_of(network, (image,), device)).items():
                    runs[f"{name} {backend}"] = run
                runs[f"{name} {SECOND_STAGE}"] = _second_stage(network, image.to(device))
            table[size] = {}
            for key, seconds in interleaved(runs, rounds=rounds).items():
                name, backend = key.split(" ")
                table[size].setdefault(name, {})[backend] = seconds
    return table


@torch.no_grad()
def _second_stage(network: TwoStage, image: Tensor) -> Run:
    """All that comes after the proposals, which Fast R-CNN takes from outside."""
    features = network.features(image)
    proposals = network.proposals(network.rpn(features))
    return pytorch_run(SecondStage(network), (features[0], proposals), image.device)


def padded(size: str) -> tuple[int, int]:
    """(height, width) of a "WIDTHxHEIGHT", each up to the next multiple of 32, as the letterbox fills it."""
    width, height = (int(side) for side in size.split("x"))
    return -(-height // 32) * 32, -(-width // 32) * 32


def rows(table: Table1) -> list[list[str]]:
    """Rows of the table to read, beginning with its head: seconds, and the gain over VGG-16 in PyTorch FP32."""
    sizes = list(table)
    first = table[sizes[0]]
    lines = [["network", "runtime", *(f"{size}, s" for size in sizes), "times faster than VGG-16 FP32 there"]]
    for name, label in NETWORKS.items():
        for backend in first.get(name, {}):
            seconds = [table[size][name][backend] for size in sizes]
            gains = [f"{gain(table[size], name, backend):.1f}" for size in sizes]
            lines.append([label, backend.replace("_", " "), *(f"{s:.4f}" for s in seconds), " / ".join(gains)])
    for name, published in PAPER.items():
        shown = dict(zip(SIZES, published, strict=True))
        lines.append(
            [f"{name}, as published", "Table 1", *(f"{shown[s]:.2f}" if s in shown else "" for s in sizes), ""]
        )
    return lines


def gain(times: dict[str, dict[str, float]], name: str, backend: str) -> float:
    """How many times faster than VGG-16 in FP32: in the same runtime, INT8 against the same runtime's FP32."""
    reference = times["vgg16"]
    return reference[backend.replace("int8", "fp32").replace("fp16", "fp32")] / times[name][backend]
