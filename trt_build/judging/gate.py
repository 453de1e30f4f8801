"""The gate: which precision may be loaded. It compares figures, and knows no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge.bundles.manifest import Precision

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Limits:
    """The most that a precision may lose against the most exact one: dB of PSNR, and points (hundredths) of AP50."""

    psnr_db: float = 0.3
    ap50_points: float = 1.5


@dataclass(frozen=True)
class Standard:
    """What the others are held against: the figures of the most exact precision on the same images."""

    precision: Precision
    figures: Figures


def refusal(figures: Figures, standard: Standard, limits: Limits) -> str | None:
    """Why figures are not good enough, in one sentence with the figures; None where they are.

    Compared are `psnr_db` and AP50: its mean over the animals where both have it, else over all labels.
    """
    losses = [_loss_of_psnr(figures, standard.figures, limits), _loss_of_ap50(figures, standard.figures, limits)]
    found = [loss for loss in losses if loss]
    return f"against {standard.precision} it loses {' and '.join(found)}" if found else None


def ap50_key(figures: Figures) -> str | None:
    """The name of the AP50 that counts."""
    return next((key for key in ("ap50_animals", "ap50") if key in figures), None)


def _loss_of_psnr(figures: Figures, standard: Figures, limits: Limits) -> str | None:
    if not ("psnr_db" in figures and "psnr_db" in standard):
        return None
    before, now = standard["psnr_db"], figures["psnr_db"]
    if not _exceeds(before - now, limits.psnr_db):
        return None
    return f"{before - now:.2f} dB of PSNR ({before:.2f} to {now:.2f}, limit {limits.psnr_db:g})"


def _loss_of_ap50(figures: Figures, standard: Figures, limits: Limits) -> str | None:
    key = ap50_key({name: 0.0 for name in figures if name in standard})
    if key is None:
        return None
    before, now = 100 * standard[key], 100 * figures[key]
    if not _exceeds(before - now, limits.ap50_points):
        return None
    whose = " of the animals" if key == "ap50_animals" else ""
    return f"{before - now:.1f} points of AP50{whose} ({before:.1f} to {now:.1f}, limit {limits.ap50_points:g})"


def _exceeds(loss: float, limit: float) -> bool:
    return loss > limit + 1e-9  # the rounding of a subtraction is no loss
