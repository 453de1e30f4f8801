"""Box arithmetic against slow, obvious references."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from training.models import boxes as box_ops


def random_boxes(count: int, seed: int, *, crowd: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand(count, 2, generator=generator) * 300 * crowd
    half = torch.rand(count, 2, generator=generator) * 40 + 5
    return torch.cat([centre - half, centre + half], dim=1)


def greedy(boxes: Tensor, threshold: float) -> list[int]:
    overlaps = box_ops.iou_matrix(boxes, boxes)
    kept: list[int] = []
    for i in range(len(boxes)):
        if all(overlaps[k, i] <= threshold for k in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("crowd", [1.0, 0.3, 0.1])
def test_suppress_equals_greedy_nms(seed: int, crowd: float) -> None:
    boxes = random_boxes(250, seed, crowd=crowd)
    alive = box_ops.suppress(boxes, 0.5)
    assert alive.nonzero()[:, 0].tolist() == greedy(boxes, 0.5)


def sliding_boxes(count: int) -> Tensor:
    """Each overlaps its neighbours by IoU 7/13 and no other box by so much: one chain of decisions."""
    left = 3.0 * torch.arange(count)
    return torch.stack([left, torch.zeros(count), left + 10, torch.full((count,), 10.0)], dim=1)


def test_suppress_is_exact_for_chains_of_one_box_more_than_steps() -> None:
    boxes = sliding_boxes(17)
    assert box_ops.suppress(boxes, 0.5).nonzero()[:, 0].tolist() == greedy(boxes, 0.5) == list(range(0, 17, 2))


def test_suppress_keeps_too_many_of_a_longer_chain_but_none_too_few() -> None:
    boxes = sliding_boxes(60)
    kept = box_ops.suppress(boxes, 0.5).nonzero()[:, 0].tolist()
    assert kept == [*range(0, 16, 2), *range(16, 60)]
    assert set(greedy(boxes, 0.5)) < set(kept)
    assert box_ops.suppress(boxes, 0.5, steps=60).nonzero()[:, 0].tolist() == greedy(boxes, 0.5)


@pytest.mark.parametrize("steps", [2, 4, 16])
@pytest.mark.parametrize("seed", range(4))
def test_suppress_never_loses_a_box_that_greedy_keeps(seed: int, steps: int) -> None:
    boxes = random_boxes(400, seed, crowd=0.2)
    kept = set(box_ops.suppress(boxes, 0.3, steps=steps).nonzero()[:, 0].tolist())
    assert set(greedy(boxes, 0.3)) <= kept


def test_suppress_keeps_the_first_of_equal_boxes_only() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10]]).repeat(20, 1)
    assert box_ops.suppress(boxes, 0.7).tolist() == [1.0] + [0.0] * 19


def test_suppress_works_on_batches() -> None:
    batch = torch.stack([random_boxes(80, s, crowd=0.2) for s in (1, 2)])
    together = box_ops.suppress(batch, 0.5)
    assert torch.equal(together, torch.stack([box_ops.suppress(b, 0.5) for b in batch]))


def test_iou_by_hand() -> None:
    a = torch.tensor([[0.0, 0, 10, 10]])
    b = torch.tensor([[5.0, 0, 15, 10], [0, 0, 10, 10], [20, 20, 30, 30], [3, 3, 3, 3]])
    torch.testing.assert_close(box_ops.iou_matrix(a, b), torch.tensor([[1 / 3, 1.0, 0.0, 0.0]]))


def test_encode_and_decode_are_inverse() -> None:
    anchors, boxes = random_boxes(50, 1), random_boxes(50, 2)
    torch.testing.assert_close(box_ops.decode(box_ops.encode(boxes, anchors), anchors), boxes, atol=1e-3, rtol=1e-4)


def bilinear(feature: np.ndarray, y: float, x: float) -> np.ndarray:
    """Value at a position in cells, where cell i has its centre at i + 0.5; edges are repeated."""
    height, width = feature.shape[1:]
    y, x = np.clip(y - 0.5, 0, height - 1), np.clip(x - 0.5, 0, width - 1)
    y0, x0 = int(y), int(x)
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    fy, fx = y - y0, x - x0
    top = feature[:, y0, x0] * (1 - fx) + feature[:, y0, x1] * fx
    bottom = feature[:, y1, x0] * (1 - fx) + feature[:, y1, x1] * fx
    return np.asarray(top * (1 - fy) + bottom * fy)


@pytest.mark.parametrize("samples", [1, 2])
def test_roi_align_against_a_loop(samples: int) -> None:
    stride, size = 16, 7
    features = torch.randn(1, 3, 10, 12, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[[10.0, 20, 150, 130], [0, 0, 192, 160], [100, 90, 104, 97]]])
    got = box_ops.roi_align(features, boxes, stride, samples=samples)[0]
    for n, (x0, y0, x1, y1) in enumerate(boxes[0].tolist()):
        for row in range(size):
            for column in range(size):
                points = [
                    bilinear(
                        features[0].numpy(),
                        (y0 + (row * samples + i + 0.5) / (size * samples) * (y1 - y0)) / stride,
                        (x0 + (column * samples + j + 0.5) / (size * samples) * (x1 - x0)) / stride,
                    )
                    for i in range(samples)
                    for j in range(samples)
                ]
                np.testing.assert_allclose(got[:, n, row * size + column], np.mean(points, axis=0), atol=1e-4)
