"""Table 2: how well and how fast each colorizer colours, beside the grey copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edge.vision.scene import ColourNetworks
from training.checkpoint import read_card, require
from training.judging.candidates import Source
from training.judging.judge import judge_colours, photographs
from training.models.catalogue import build_colorizer, build_context
from training.models.interfaces import CONTEXT_SIZE, ColourNetwork, ContextNetwork
from training.tables.timing import interleaved, runs_of

SIDE_PX = 256
METRICS = {"psnr_db": "PSNR, dB", "ciede2000": "CIEDE2000", "mssim": "MSSIM", "colourfulness": "colourfulness"}
# Tang, Zheng and Zhu, table 2: MSSIM of the three photographs of their figure 8
PAPER = {"zhang": (0.8217, 0.6587, 0.6634), "iizuka": (0.8887, 0.6084, 0.5183), "paper": (0.9002, 0.6908, 0.7022)}

Scores = dict[str, dict[str, float]]  # colorizer -> metric -> mean over the photographs
Seconds = dict[str, dict[str, float]]  # variant -> backend -> seconds a picture


@dataclass
class Table2:
    """What was measured; `trained_on` says of each run how much it has seen, and of what."""

    photographs: int
    scores: Scores
    seconds: Seconds
    trained_on: dict[str, dict[str, Any]]


def measure(
    runs: Mapping[str, Path], bundle: Path | None, images: Sequence[Path], *, rounds: int, device: torch.device
) -> Table2:
    """Judge the trained colorizers, and a bundle's as it ships, on the same photographs; then time the variants."""
    scores: Scores = {}
    trained_on = {}
    for variant, run in runs.items():
        require(read_card(run), run, "colorizer", variant)
    sources = {name: Source(run, None) for name, run in runs.items()}
    if bundle:
        sources["bundle"] = Source(None, bundle)
    count = 0
    for name, source in sources.items():
        with source.colorizer() as (networks, identity):
            report = judge_colours(_coloured_by(networks), photographs(images))
        mean, count = report.mean, len(report.rows)
        scores.setdefault("grey copy", {key: mean[f"grey_{key}"] for key in METRICS if f"grey_{key}" in mean})
        scores["grey copy"]["colourfulness"] = 0.0
        scores[name] = {key: mean[key] for key in METRICS}
        trained_on[name] = identity
    return Table2(count, scores, _time(list(runs), rounds, device), trained_on)


def _coloured_by(networks: ColourNetworks) -> Any:
    return lambda luma: networks.colour(luma, networks.context(luma))


def _time(variants: Sequence[str], rounds: int, device: torch.device) -> Seconds:
    seconds: Seconds = {}
    with ExitStack() as stack:
        runs = {}
        for variant in variants:
            network = WithContext(build_colorizer(variant))
            for backend, run in stack.enter_context(runs_of(network, network.example(), device)).items():
                runs[f"{variant} {backend}"] = run
        for key, value in interleaved(runs, rounds=rounds).items():
            variant, backend = key.split(" ")
            seconds.setdefault(variant, {})[backend] = value
    return seconds


class WithContext(nn.Module):
    """A colorizer with the network that gives it the scene's context, as if every picture were a new scene."""

    def __init__(self, colorizer: ColourNetwork) -> None:
        super().__init__()
        self.colorizer = colorizer
        self.context: ContextNetwork | None = None
        if colorizer.uses_context:
            self.context = build_context("efficientnet_lite0")

    def example(self) -> tuple[Tensor, ...]:
        """Inputs for `forward`."""
        luma = torch.rand(1, 1, SIDE_PX, SIDE_PX)
        if self.context is None:
            return (luma,)
        return luma, torch.rand(1, 1, self.context.input_px, self.context.input_px)

    def forward(self, luma: Tensor, whole: Tensor | None = None) -> Tensor:
        """ab of luma [1, 1, 256, 256] and, for a network with context, the same picture as that network sees it."""
        context = luma.new_zeros(1, CONTEXT_SIZE)
        if self.context is not None and whole is not None:
            context = self.context(whole)
        ab: Tensor = self.colorizer(luma, context)
        return ab


def rows(table: Table2) -> list[list[str]]:
    """Rows of the table to read, beginning with its head."""
    backends = list(next(iter(table.seconds.values())))
    head = [
        "colorizer",
        *METRICS.values(),
        *(f"{b.replace('_', ' ')}, ms" for b in backends),
        "times faster than Zhang's FP32",
    ]
    lines = [[*head, "MSSIM as published"]]
    for name, scores in table.scores.items():
        times = table.seconds.get(name, {})
        published = " / ".join(f"{value:.4f}" for value in PAPER.get(name, ()))
        lines.append(
            [
                name,
                *(f"{scores[key]:.3f}" if key in scores else "" for key in METRICS),
                *(f"{times[b] * 1e3:.1f}" if b in times else "" for b in backends),
                " / ".join(f"{_gain(table.seconds, name, b):.1f}" for b in times) if "zhang" in table.seconds else "",
                published,
            ]
        )
    return lines


def _gain(seconds: Seconds, name: str, backend: str) -> float:
    return seconds["zhang"][backend.replace("int8", "fp32").replace("fp16", "fp32")] / seconds[name][backend]
