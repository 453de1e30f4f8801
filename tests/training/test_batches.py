"""Which images each step learns from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from training.learning.batches import Batches, epoch_order, loader, moved, named_tensors, seed_of
from training.learning.ranks import Ranks


class Numbers:
    """Items that say which they are, and how they were rendered."""

    def __init__(self, count: int) -> None:
        self.epoch, self.count = 0, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        return torch.tensor([self.epoch, index])


def order(count: int = 10, *, start: int = 0, rank: int = 0, world: int = 1, seed: int = 0) -> Batches:
    return Batches(torch.ones(count), 4, seed, start, 9, Ranks(rank, world))


def test_an_epoch_has_each_image_once_and_every_epoch_its_own_order() -> None:
    indices = [index for batch in order() for _, index in batch]
    assert len(indices) == 36
    epochs = [indices[i : i + 10] for i in (0, 10, 20)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] and epochs[0] != sorted(epochs[0])
    assert [index for batch in order(seed=1) for _, index in batch] != indices


def test_a_resumed_run_goes_on_in_the_middle_of_an_epoch() -> None:
    assert list(order(start=4)) == list(order())[4:]
    assert len(order(start=4)) == 5


def test_processes_share_the_global_batches() -> None:
    parts = [list(order(rank=rank, world=2)) for rank in (0, 1)]
    assert [one + other for one, other in zip(*parts, strict=True)] == list(order())


def test_images_are_drawn_as_often_as_asked() -> None:
    draws = torch.tensor([1.0, 3.0, 1.5, 0.5, 1.0, 1.0], dtype=torch.float64)
    counts = Counter(index for epoch in range(200) for index in epoch_order(draws, 7, epoch))
    assert sum(counts.values()) == 1200
    for index, weight in enumerate(draws.tolist()):
        expected = 1200 * weight / 8.0
        assert counts[index] == pytest.approx(expected, rel=0.25)
    one = Counter(epoch_order(draws, 7, 0))
    assert one[1] in (2, 3) and one[0] in (0, 1)


@pytest.mark.parametrize("workers", [0, 1])
def test_items_are_rendered_by_the_step(workers: int) -> None:
    batches = loader(Numbers(6), order(6, start=2), workers=workers, collate=None, pin=False)
    got = [[tuple(item) for item in batch.tolist()] for batch in batches]
    assert got == list(order(6, start=2))
    assert {step for batch in got for step, _ in batch} == set(range(2, 9))


@dataclass
class Known:
    boxes: Tensor
    labels: Tensor


def test_a_batch_is_moved_and_named_whatever_it_is_made_of() -> None:
    batch = (torch.ones(2), [Known(torch.zeros(1, 4), torch.tensor([3]))])
    image, (known,) = moved(batch, torch.device("meta"))
    assert image.is_meta and known.boxes.is_meta and known.labels.is_meta
    assert list(named_tensors(batch)) == ["0", "1.0.boxes", "1.0.labels"]
    assert named_tensors(batch)["1.0.labels"].item() == 3


def test_neighbouring_seeds_are_unrelated() -> None:
    seeds = {seed_of(a, b) for a in range(10) for b in range(10)}
    assert len(seeds) == 100 and seed_of(1, 2) == seed_of(1, 2)
