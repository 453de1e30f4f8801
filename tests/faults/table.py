"""The outcomes as a table for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from tests.faults.measure import Outcome

HEAD = ("Fault", "Times", "Recovers after s", "Events lost", "Frames lost", "Memory MB", "Notes")


def table(outcomes: Iterable[Outcome]) -> str:
    """Markdown; medians, with the worst in brackets where it differs."""
    rows = [HEAD, *(_row(outcome) for outcome in outcomes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = [_line(row, widths) for row in rows]
    return "\n".join([lines[0], _line(["-" * width for width in widths], widths), *lines[1:]])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


def _row(outcome: Outcome) -> tuple[str, ...]:
    if outcome.skipped:
        return (outcome.fault, "0", "", "", "", "", f"skipped: {outcome.skipped}")
    growth = "" if outcome.growth_mb is None else f"{outcome.growth_mb:+.1f}"
    return (
        outcome.fault,
        str(outcome.times),
        _spread(outcome.recover_s, ".1f"),
        f"{outcome.events_lost} of {outcome.events}" if outcome.events else "",
        _spread(outcome.frames_lost, ".0f"),
        growth,
        "; ".join(_notes(outcome)),
    )


def _notes(outcome: Outcome) -> Iterable[str]:
    if outcome.failed:
        yield "FAILED: " + " ".join(outcome.failed.split())[:200]
    for count, what in (
        (outcome.restarts, "restarted"),
        (outcome.events_repeated, "events came twice"),
        (outcome.events_unsaved, "events in memory alone at the kill"),
    ):
        if count:
            yield f"{count} {what}"


def _spread(values: Sequence[float], form: str) -> str:
    if not values:
        return ""
    middle, worst = format(median(values), form), format(max(values), form)
    return middle if middle == worst else f"{middle} ({worst})"
