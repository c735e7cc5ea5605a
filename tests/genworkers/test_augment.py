"""Augmentation: a function of (seed, epoch, index), and of nothing else."""

from __future__ import annotations

import pytest
import torch

from genplatform.errors import BadRequest
from genworkers.data.augment import Augment
from genworkers.data.dataset import Order

X = torch.randn((32, 2, 6, 7), generator=torch.Generator().manual_seed(0))
ALL, FIRST = torch.arange(32), torch.zeros(32, dtype=torch.long)
BOTH = Augment(flip=True, shift=2)


def applied(augment: Augment, indices: torch.Tensor = ALL, epoch: int = 0, seed: int = 5) -> torch.Tensor:
    return augment.applied({"x": X[indices]}, indices, torch.full((len(indices),), epoch), seed)["x"]


def test_a_picture_is_changed_alike_wherever_in_a_batch_it_stands() -> None:
    mixed = torch.randperm(32, generator=torch.Generator().manual_seed(1))

    assert torch.equal(applied(BOTH, mixed), applied(BOTH)[mixed])
    assert torch.equal(applied(BOTH, ALL[7:9]), applied(BOTH)[7:9])


def test_another_epoch_or_seed_changes_it_otherwise() -> None:
    once = applied(BOTH)

    assert torch.equal(once, applied(BOTH))
    assert not torch.equal(once, applied(BOTH, epoch=1))
    assert not torch.equal(once, applied(BOTH, seed=6))


def test_flip_mirrors_some_and_leaves_the_others() -> None:
    flipped = applied(Augment(flip=True))

    mirrored = [torch.equal(flipped[i], X[i].flip(2)) for i in range(32)]
    kept = [torch.equal(flipped[i], X[i]) for i in range(32)]
    assert [a != b for a, b in zip(mirrored, kept, strict=True)] == [True] * 32
    assert 6 < sum(mirrored) < 26


def test_shift_moves_by_every_number_of_pixels_up_to_it_and_draws_the_edge_out() -> None:
    ramp = torch.arange(7.0).expand(200, 1, 6, 7)
    rows, none = torch.arange(200), torch.zeros(200, dtype=torch.long)

    moved = Augment(shift=2).applied({"x": ramp}, rows, none, 0)["x"]

    assert set(moved[:, 0, 0, 3].tolist()) == {1.0, 2.0, 3.0, 4.0, 5.0}
    assert moved.min() == 0
    assert moved.max() == 6


def test_nothing_declared_changes_nothing_and_what_is_no_picture_is_refused() -> None:
    assert Augment.of({"source": "digits", "augment": None}).applied({"x": X}, ALL, FIRST, 0)["x"] is X
    with pytest.raises(BadRequest, match="for pictures"):
        BOTH.applied({"x": X[:, 0, 0]}, ALL, FIRST, 0)


def test_each_row_knows_its_epoch_on_every_worker() -> None:
    order = Order(torch.arange(5), batch_size=4, seed=0)

    assert order.epochs(0).tolist() == [0, 0, 0, 0]
    assert order.epochs(1).tolist() == [0, 1, 1, 1]
    assert torch.equal(order.epochs(1, rank=1, world_size=2), order.epochs(1)[1::2])
