"""Pictures of results: sample sheets, confusion matrices, precision-recall curves, bars. Drawn without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edge.atomic import replacing
from training.judging.judge import Sample
from training.metrics.confusion import Confusion
from training.metrics.detection import RECALLS, LabelScores

DPI = 110
CELL_IN = 2.3  # width of one picture of a sheet, in inches
INK, FAINT, ACCENT = "#222222", "#9a9a9a", "#1f6f8b"
PALETTE = ("#1f6f8b", "#e07a3f", "#6a994e", "#8e5a9e", "#c9a227", "#b23a48", "#5c6b73", "#3fa7a0")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure, atomically; its suffix says the format: one of `training.outputs.PICTURES`.

    Raises:
        OSError: it cannot be written; an older file survives.
    """
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=DPI, facecolor="white")


def colour_sheet(samples: Sequence[Sample]) -> Figure:
    """Input, result and truth of each sample side by side, two samples a row, with the scores beneath."""
    across = min(2, len(samples))
    down = -(-len(samples) // across)
    aspects = [min(1.2, sample.luma.shape[0] / sample.luma.shape[1]) for sample in samples]
    heights = [CELL_IN * max(aspects[i * across : (i + 1) * across]) + 0.65 for i in range(down)]
    figure = Figure((3.1 * across * CELL_IN, sum(heights)), layout="constrained")
    parts = figure.subfigures(down, across, squeeze=False, height_ratios=heights)
    for part, sample in zip(parts.flat, samples, strict=False):
        axes = part.subplots(1, 3)
        _picture(axes[0], sample.luma, "input")
        _picture(axes[1], sample.result, "result")
        _picture(axes[2], sample.truth, "truth")
        part.supxlabel(_caption(sample), fontsize=8, color=INK, parse_math=False)
    return figure


def confusion_figure(confusion: Confusion) -> Figure:
    """The matrix as shares of each row, with the counts written in."""
    names = [*confusion.labels, "background"]
    side = 2.5 + 0.42 * len(names)
    figure = Figure((side, side), layout="constrained")
    axes = figure.subplots()
    shares = confusion.counts / np.maximum(confusion.counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(confusion.counts > 0):
        ink = "white" if shares[row, column] > 0.55 else INK
        axes.text(column, row, str(confusion.counts[row, column]), ha="center", va="center", fontsize=7, color=ink)
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_xlabel("detected as (background: missed)")
    axes.set_ylabel("truth (background: nothing there)")
    axes.set_title(f"score from {confusion.min_score:g}, IoU from {confusion.min_iou:g}", fontsize=10, color=INK)
    axes.tick_params(labelsize=8, length=0)
    axes.spines[:].set_visible(False)
    return figure


def curves_figure(scores: Mapping[str, LabelScores]) -> Figure:
    """Precision over recall at IoU 0.5, one small plot a label."""
    across = min(5, len(scores))
    down = -(-len(scores) // across)
    figure = Figure((1.2 + 2.0 * across, 0.8 + 1.9 * down), layout="constrained")
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for axes, (label, score) in zip(grid.flat, scores.items(), strict=False):
        axes.fill_between(RECALLS, score.precision, color=ACCENT, alpha=0.15, linewidth=0)
        axes.plot(RECALLS, score.precision, color=ACCENT, linewidth=1.4)
        axes.set_title(f"{label}  AP50 {score.ap50:.2f}", fontsize=9, color=INK, parse_math=False)
        axes.text(0.04, 0.06, f"{score.boxes} objects", fontsize=7, color=FAINT, transform=axes.transAxes)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        _plain(axes)
    for axes in list(grid.flat)[len(scores) :]:
        axes.set_visible(False)
    for axes in list(grid.flat)[max(0, len(scores) - across) : len(scores)]:
        axes.tick_params(labelbottom=True)
    figure.supxlabel("recall", fontsize=9)
    figure.supylabel("precision", fontsize=9)
    return figure


def bars(
    path: Path, groups: Sequence[Any], series: Mapping[str, Sequence[float]], *, ylabel: str, log: bool = False
) -> None:
    """Write grouped bars: `series` has one value for each of the groups."""
    figure = Figure((2.5 + 0.28 * len(groups) * len(series), 4.2), layout="constrained")
    axes = figure.subplots()
    width = 0.84 / len(series)
    for i, (name, values) in enumerate(series.items()):
        offset = (i - (len(series) - 1) / 2) * width
        axes.bar(np.arange(len(groups)) + offset, values, 0.92 * width, label=name, color=PALETTE[i % len(PALETTE)])
    axes.set_xticks(range(len(groups)), [str(group) for group in groups])
    axes.set_ylabel(ylabel)
    if log:
        axes.set_yscale("log")
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    _plain(axes)
    save_figure(figure, path)


def _picture(axes: Axes, image: np.ndarray[Any, Any], title: str) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    axes.set_title(title, fontsize=7, color=FAINT, pad=2)
    axes.set_axis_off()


def _caption(sample: Sample) -> str:
    name = sample.file if len(sample.file) <= 36 else f"{sample.file[:17]}…{sample.file[-18:]}"
    s = sample.scores
    return (
        f"{name}\nPSNR {s['psnr_db']:.1f} dB (grey {s['grey_psnr_db']:.1f})   "
        f"ΔE00 {s['ciede2000']:.1f} (grey {s['grey_ciede2000']:.1f})   "
        f"MSSIM {s['mssim']:.3f} (grey {s['grey_mssim']:.3f})   "
        f"colourfulness {s['colourfulness']:.0f} (truth {s['truth_colourfulness']:.0f})"
    )


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, color=FAINT)
