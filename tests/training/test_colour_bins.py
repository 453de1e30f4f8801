"""Colours as classes: the bins, the encoding, the way back, and the weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from training.models.colour_bins import annealed_mean, bins, colour_prior, rebalancing, soft_encode


def photographs_ab(count: int = 4000) -> torch.Tensor:
    """ab [count, 2] of random sRGB colours, by another library."""
    rgb = np.random.default_rng(0).random((count, 1, 3))
    return torch.from_numpy(rgb2lab(rgb)[:, 0, 1:].astype(np.float32))


def test_bins_are_the_grid_within_a_cell_of_the_gamut() -> None:
    centres = bins()
    assert centres.shape == (313, 2)
    assert torch.equal(centres, (centres / 10).round() * 10)
    assert len({tuple(c) for c in centres.tolist()}) == 313
    distance = torch.cdist(centres, photographs_ab(40_000)).min(dim=1).values
    assert distance.max() < 10 * 2**0.5 + 5  # random colours seldom reach the gamut's corners
    assert [0.0, 0.0] in centres.tolist() and [110.0, 110.0] not in centres.tolist()


def test_every_colour_lies_in_the_cell_of_a_bin() -> None:
    distance = (photographs_ab()[:, None] - bins()).abs().amax(dim=-1).min(dim=1).values
    assert distance.max() <= 5.0 + 1e-3


def test_soft_encoding_sums_to_one_nearest_first() -> None:
    ab = photographs_ab(600).t().reshape(1, 2, 20, 30)
    index, share = soft_encode(ab, bins())
    assert index.shape == share.shape == (1, 5, 20, 30)
    torch.testing.assert_close(share.sum(dim=1), torch.ones(1, 20, 30))
    assert (share.diff(dim=1) <= 0).all()
    nearest = torch.cdist(ab.flatten(2)[0].t(), bins()).argmin(dim=1)
    chosen = bins()[index[0, 0].flatten()]
    torch.testing.assert_close((chosen - bins()[nearest]).abs().sum(), torch.tensor(0.0))


def test_soft_shares_are_gaussian() -> None:
    ab = torch.tensor([3.0, -2.0]).view(1, 2, 1, 1)
    index, share = soft_encode(ab, bins())
    wanted = torch.exp(-(bins()[index[0, :, 0, 0]] - ab.view(2)).square().sum(dim=1) / (2 * 5.0**2))
    torch.testing.assert_close(share[0, :, 0, 0], wanted / wanted.sum())


def test_annealed_mean_lies_between_mean_and_mode() -> None:
    centres = bins()
    grey, red = (centres.tolist().index(ab) for ab in ([0.0, 0.0], [60.0, 40.0]))
    logits = torch.full((1, 313, 1, 1), -50.0)
    logits[0, grey], logits[0, red] = np.log(0.4), np.log(0.6)
    share = 0.6 ** (1 / 0.38) / (0.6 ** (1 / 0.38) + 0.4 ** (1 / 0.38))  # equation 5 of the paper
    expected = torch.tensor([60.0, 40.0]) * share
    torch.testing.assert_close(annealed_mean(logits, centres).flatten(), expected)
    assert 0.6 < share < 1


def test_annealed_mean_of_certainty_is_the_bin() -> None:
    logits = torch.full((1, 313, 1, 1), -50.0)
    logits[0, 100] = 10.0
    torch.testing.assert_close(annealed_mean(logits, bins()).flatten(), bins()[100])


def test_prior_counts_the_nearest_bins() -> None:
    grey = bins().tolist().index([0.0, 0.0])
    prior = colour_prior([torch.zeros(1, 2, 4, 4), torch.full((1, 2, 4, 4), 20.0)])
    assert prior[grey] == 0.5
    assert prior.sum() == pytest.approx(1.0)


def test_rebalancing_has_mean_one_and_favours_the_rare() -> None:
    prior = torch.exp(-bins().norm(dim=1) / 12.0)
    prior = prior / prior.sum()
    weights = rebalancing(prior)
    assert (weights * prior).sum().item() == pytest.approx(1.0, abs=1e-5)
    common, rare = prior.argmax(), prior.argmin()
    assert weights[rare] > 5 * weights[common]
    assert weights.max() / weights.min() < 1 + 313 * prior.max()  # half uniform: nothing weighs without bound
