"""The curves of a run: its losses and its learning rate over the steps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from edge.atomic import replacing

LOG, CURVES = "log.jsonl", "curves.png"
NOT_LOSSES = {"step", "elapsed_s", "learning_rate"}


def draw_curves(folder: Path) -> None:
    """Draw `log.jsonl` of a run folder into its `curves.png`; nothing where nothing is logged yet.

    Raises:
        OSError: it cannot be written.
    """
    entries = read_log(folder)
    if not entries:
        return
    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    names = sorted({name for entry in entries.values() for name in entry} - NOT_LOSSES)
    for name in names:
        _draw_loss(above, entries, name)
    above.set(ylabel="loss", yscale="log")
    above.legend()
    rates = {step: entry["learning_rate"] for step, entry in entries.items() if "learning_rate" in entry}
    below.plot(list(rates), list(rates.values()), color="black", marker="." if len(rates) < 3 else "")
    below.set(ylabel="learning rate", xlabel="step", ylim=(0, None))
    for axes in (above, below):
        axes.grid(alpha=0.3)
    if not rates:  # the log of an older version
        below.remove()
        above.set_xlabel("step")
        above.tick_params(labelbottom=True)
    figure.suptitle(f"{folder.absolute().name}: training losses", parse_math=False)
    with replacing(folder / CURVES) as temporary:
        figure.savefig(temporary, dpi=100)


def read_log(folder: Path) -> dict[int, dict[str, float]]:
    """The entries of `log.jsonl` by step, in order; a line that was cut off is passed over.

    A run that was killed and resumed did some steps twice: the last time counts.
    """
    entries: dict[int, dict[str, Any]] = {}
    path = folder / LOG
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        entries = {step: old for step, old in entries.items() if step < entry["step"]}
        entries[entry["step"]] = entry
    return entries


def _draw_loss(axes: Axes, entries: Mapping[int, Mapping[str, float]], name: str) -> None:
    """Each logged value faintly, and their running mean."""
    steps, values = zip(*((step, entry[name]) for step, entry in entries.items() if name in entry), strict=True)
    width = max(1, len(values) // 20)
    (line,) = axes.plot(steps, values, alpha=0.3 if width > 1 else 1.0, marker="." if len(steps) < 3 else "")
    if width > 1:
        smooth = np.convolve(values, np.full(width, 1 / width), mode="valid")
        axes.plot(steps[width - 1 :], smooth, color=line.get_color(), label=name)
    else:
        line.set_label(name)
