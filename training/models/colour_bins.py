"""Colour as classes: the ab plane in 313 bins (Zhang, Isola and Efros, "Colorful Image Colorization", 2016).

A colour is a distribution over the bins nearest to it (section 2.2), a distribution is a colour by its annealed mean
(2.3), and rare colours weigh more than common ones (2.2, class rebalancing). ab is CIELAB (D65) in -110..110.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edge.types import Float32Array

GRID = 10.0
NEIGHBOURS, SIGMA = 5, 5.0  # of the soft encoding, in ab units
TEMPERATURE = 0.38
PRIOR_SIGMA, UNIFORM_SHARE = 5.0, 0.5


@cache
def _bins() -> Float32Array:
    """ab of the bins, float32[313, 2]: points of the grid no further from sRGB's gamut than a cell's diagonal.

    The paper gives the grid and the number of bins; that distance gives the same number.
    """
    axis = np.arange(-110.0, 111.0, GRID)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 1, 2)
    distance2 = ((grid - _gamut_surface()) ** 2).sum(axis=-1).min(axis=1)
    return np.asarray(grid[distance2 <= 2 * GRID**2, 0], np.float32)


def _gamut_surface(points: int = 33) -> Float32Array:
    """ab [P, 2] of the faces of the sRGB cube: seen along L, they cover all of the gamut."""
    u, v = np.meshgrid(*[np.linspace(0.0, 1.0, points)] * 2)
    face = np.stack([u, v], axis=-1).reshape(-1, 2)
    rgb = np.concatenate([np.insert(face, axis, value, axis=1) for axis in range(3) for value in (0.0, 1.0)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)  # IEC 61966-2-1
    xyz_of = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    f = linear @ xyz_of.T / xyz_of.sum(axis=1)
    f = np.where(f > (6 / 29) ** 3, np.cbrt(f), f / (3 * (6 / 29) ** 2) + 4 / 29)  # CIE 15
    return np.stack([500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=-1).astype(np.float32)


def bins() -> Tensor:
    """ab of the bins, float32[313, 2]."""
    return torch.from_numpy(_bins()).clone()


def soft_encode(ab: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """ab [B, 2, H, W] as shares of its five nearest bins: indices int64 and shares, [B, 5, H, W], nearest first.

    The shares are Gaussian in the distance, and their sum is one.
    """
    distance = torch.cdist(ab.permute(0, 2, 3, 1), centres, compute_mode="donot_use_mm_for_euclid_dist")
    nearest, index = distance.topk(NEIGHBOURS, dim=-1, largest=False)
    share = F.softmax(-nearest.square() / (2 * SIGMA**2), dim=-1)
    return index.permute(0, 3, 1, 2), share.permute(0, 3, 1, 2)


def annealed_mean(logits: Tensor, centres: Tensor) -> Tensor:
    """ab [B, 2, H, W] of logits [B, 313, H, W]: the mean of the distribution sharpened to temperature 0.38."""
    share = F.softmax(logits / TEMPERATURE, dim=1)
    return F.conv2d(share, centres.t()[:, :, None, None])


def colour_prior(batches: Iterable[Tensor]) -> Tensor:
    """Share of each bin, float32[313], in ab images [B, 2, H, W]: the nearest bin of each position is counted."""
    centres = bins()
    counts = torch.zeros(len(centres))
    for ab in batches:
        index, _ = soft_encode(ab.float().cpu(), centres)
        counts += torch.bincount(index[:, 0].flatten(), minlength=len(centres))
    return counts / counts.sum()


def rebalancing(prior: Tensor) -> Tensor:
    """Weight of each bin [313], rarer ones heavier: 1 / (half the smoothed prior + half uniform).

    Scaled so that the mean weight over the photographs' positions is one.
    """
    centres = bins().to(prior.device)
    kernel = torch.exp(-torch.cdist(centres, centres).square() / (2 * PRIOR_SIGMA**2))
    smooth = (kernel / kernel.sum(dim=0)) @ prior
    weights = 1.0 / ((1 - UNIFORM_SHARE) * smooth + UNIFORM_SHARE / len(prior))
    return weights / (weights * prior).sum()
