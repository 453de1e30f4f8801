"""Pictures of results: sample sheets, confusion matrices, precision-recall curves, bars. Drawn without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edge.atomic import replacing
from edge.types import Int64Array
from training.judging.judge import Sample
from training.metrics.confusion import Confusion
from training.metrics.detection import RECALLS, LabelScores

DPI = 110
CELL_IN = 2.3  # width of one picture of a sheet, in inches
INK, FAINT, GRID, ACCENT = "#222222", "#767676", "#e6e6e6", "#1f6f8b"
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
    """The counts, shaded by their share of the row; labels without any object or detection are left out."""
    counts = confusion.counts
    kept = [*np.flatnonzero((counts.sum(axis=0) + counts.sum(axis=1))[:-1]), len(confusion.labels)]
    names = [*confusion.labels, "background"]
    side = 2.8 + 0.42 * len(kept)
    figure = Figure((side, side), layout="constrained")
    axes = figure.subplots()
    _draw_matrix(axes, counts[np.ix_(kept, kept)], [names[i] for i in kept])
    axes.set_xlabel("detected as (background: missed)")
    axes.set_ylabel("truth (background: nothing there)")
    objects = _counted(int(counts[:-1].sum()), "object")
    title = f"counts; shade: share of the row\n{objects}; score from {confusion.min_score:g}, "
    title += f"IoU from {confusion.min_iou:g}"
    if absent := len(names) - len(kept):
        title += f"\n{_counted(absent, 'label')} without any object or detection left out"
    axes.set_title(title, fontsize=9, color=INK)
    return figure


def _draw_matrix(axes: Axes, counts: Int64Array, names: Sequence[str]) -> None:
    """Square cells with their counts, shaded by their share of the row."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(counts > 0):
        ink = "white" if shares[row, column] > 0.55 else INK
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=7, color=ink)
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=GRID, linewidth=0.7)
    axes.tick_params(which="both", labelsize=8, length=0)
    axes.spines[:].set_visible(False)


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
        note = _counted(score.boxes, "object") + ("" if score.ap50 else ", none found")
        axes.text(0.04, 0.06, note, fontsize=7, color=FAINT, transform=axes.transAxes)
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
    """Write bars, a panel for each group, one above the other; `series` has one value for each of the groups.

    Each panel has its own scale, as its unit may be its own; on a logarithmic one, all share it. Series whose names
    begin alike, up to a comma, share a colour.
    """
    width = max(5.0, 1.2 + 0.5 * len(series))
    names = [fill(name.replace("_", " "), 24) for name in series]
    kinds = list(dict.fromkeys(name.split(",")[0] for name in series))
    colours = [PALETTE[kinds.index(name.split(",")[0]) % len(PALETTE)] for name in series]
    figure = Figure((width, 0.6 + 2.2 * len(groups) + 0.07 * max(map(len, names))), layout="constrained")
    panels = figure.subplots(len(groups), 1, sharex=True, sharey=log, squeeze=False)[:, 0]
    for i, (axes, group) in enumerate(zip(panels, groups, strict=True)):
        _bar_panel(axes, [values[i] for values in series.values()], colours, log=log)
        axes.set_title(fill(str(group), int(10 * width)), fontsize=10, color=INK, loc="left", parse_math=False)
        axes.set_ylabel(ylabel, fontsize=9)
    turned = {"rotation": 50, "ha": "right", "va": "center", "rotation_mode": "anchor"}
    panels[-1].set_xticks(range(len(names)), names, parse_math=False, **turned)
    save_figure(figure, path)


def _bar_panel(axes: Axes, values: Sequence[float], colours: Sequence[str], *, log: bool) -> None:
    """Bars with their values written at their ends."""
    drawn = axes.bar(range(len(values)), values, 0.8, color=colours)
    axes.bar_label(drawn, fmt="%.3g", fontsize=7, padding=2, color=INK)
    if log:
        axes.set_yscale("log")
    else:
        axes.axhline(0, color=FAINT, linewidth=0.8)
    axes.margins(x=0.02, y=0.15)
    axes.grid(axis="y", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    _plain(axes)


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


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, color=FAINT)
