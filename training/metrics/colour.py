"""How near a coloured picture comes to the photograph that it was made from."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import structural_similarity

from edge.types import UInt8Array

SIDE_PX = 256  # colour is judged at 256x256


def colour_metrics(result: UInt8Array, truth: UInt8Array) -> dict[str, float]:
    """Scores of a picture against the truth, both uint8[H, W, 3] RGB of any size, compared at 256x256.

    Returns:
        mssim: mean structural similarity over RGB, at most 1 (Wang et al., "Image quality assessment: from error
            visibility to structural similarity", 2004: Gaussian window, sigma 1.5).
        psnr_db: peak signal-to-noise ratio, capped at 138 dB for equal pictures.
        ciede2000: mean colour difference, 0 for equal pictures (CIE 142-2001).
        colourfulness: of the result alone, see `colourfulness`.
    """
    a, b = small(result), small(truth)
    mse = float(np.mean((a.astype(np.float64) - b) ** 2))
    return {
        "mssim": mssim(a, b),
        "psnr_db": 10 * float(np.log10(255.0**2 / max(mse, 1e-9))),
        "ciede2000": float(np.mean(deltaE_ciede2000(rgb2lab(a), rgb2lab(b)))),  # type: ignore[no-untyped-call]
        "colourfulness": colourfulness(a),
    }


def mssim(a: UInt8Array, b: UInt8Array) -> float:
    """Mean structural similarity of two uint8[H, W, 3] pictures of one size, of at least 11x11 pixels."""
    similarity = structural_similarity(  # type: ignore[no-untyped-call]
        a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=2, data_range=255
    )
    return float(similarity)


def colourfulness(rgb: UInt8Array) -> float:
    """M3 of uint8[H, W, 3] RGB: 0 is grey, 15 slightly, 33 moderately colourful.

    Hasler and Suesstrunk, "Measuring colourfulness in natural images", 2003.
    """
    red, green, blue = (rgb[..., i].astype(np.float64) for i in range(3))
    rg, yb = red - green, 0.5 * (red + green) - blue
    deviation = np.hypot(rg.std(), yb.std())
    return float(deviation + 0.3 * np.hypot(rg.mean(), yb.mean()))


def mean_of(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean of each metric over pictures."""
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def small(rgb: UInt8Array) -> UInt8Array:
    """A picture as it is judged: squashed to 256x256."""
    return np.asarray(cv2.resize(rgb, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA), np.uint8)
