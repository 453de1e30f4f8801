"""The course of a soak as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

PANELS = (
    ("Memory, MB", ("rss_mb",)),
    ("Descriptors, threads", ("descriptors", "threads")),
    ("Latency, ms", ("p50_ms", "p99_ms")),
    ("Frames a second", ("fps",)),
)
LABELS = {"rss_mb": "resident", "p50_ms": "p50", "p99_ms": "p99", "fps": "coloured"}


def plot(content: dict[str, Any], path: Path) -> None:
    """Four panels over minutes; where a fault held, until all was well again, the ground is grey."""
    course, summary = content["course"], content["summary"]
    minutes = np.asarray(course["at_s"]) / 60
    figure, axes = plt.subplots(len(PANELS), 1, figsize=(10, 9), sharex=True, constrained_layout=True)
    for axis, (title, names) in zip(axes, PANELS, strict=True):
        for _, begin_s, end_s in course["faults"]:
            axis.axvspan(begin_s / 60, end_s / 60, color="0.88", linewidth=0)
        for name in names:
            axis.plot(minutes, np.asarray(course[name], float), linewidth=0.9, label=LABELS.get(name, name))
        axis.set_ylabel(title)
        axis.set_ylim(0, 1.15 * axis.get_ylim()[1])
        axis.legend(loc="upper left", fontsize="small", ncols=2)
    axes[-1].set_xlabel("Minutes; grey: a fault, until all is well again")
    machine = content["machine"]
    figure.suptitle(
        f"{summary['faults']} faults in {summary['minutes']} minutes; memory grows by "
        f"{summary['rss_growth_mb_per_h']} MB an hour after the warm-up; "
        f"{summary['events_lost']} of {summary['events']} events lost\n"
        f"{content['scene']} scene, {content['fps']} pictures a second; "
        f"{machine['processor']}, {machine['cores']} cores, {machine['date']}",
        fontsize="medium",
    )
    figure.savefig(path, dpi=100)
    plt.close(figure)
