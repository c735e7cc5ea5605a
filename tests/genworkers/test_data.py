"""Data: its digest, its split, and the order in which it is read."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_digits

from genplatform.errors import BadRequest
from genworkers.data.dataset import Order, split_indices
from genworkers.data.sources import open_source


def test_the_digits_are_the_real_ones() -> None:
    digits = open_source({"source": "digits"})

    assert digits.pictures.shape == (1797, 1, 8, 8)
    assert (digits.pictures.min(), digits.pictures.max()) == (-1, 1)
    assert digits.shape == (8, 8, 1)
    assert digits.labels is not None
    assert digits.labels[:5].tolist() == [0, 1, 2, 3, 4]
    assert digits.digest == open_source({"source": "digits"}).digest
    assert len(digits.digest) == 64


def test_the_digits_are_those_that_scikit_learn_loads() -> None:
    bunch = load_digits()

    digits = open_source({"source": "digits"})

    assert digits.labels is not None
    assert digits.labels.tolist() == bunch.target.tolist()
    assert torch.equal(digits.pictures[:, 0], torch.from_numpy(bunch.images).float() / 8 - 1)


@pytest.mark.parametrize("data", [{"source": "digit"}, {}, {"source": None}, {"source": ["digits"]}])
def test_an_unknown_source_is_answered_with_those_that_exist(data: dict[str, object]) -> None:
    with pytest.raises(BadRequest) as caught:
        open_source(data)
    assert "digits" in caught.value.hint


def test_an_option_a_source_does_not_take_is_refused() -> None:
    with pytest.raises(BadRequest, match="no option 'size'"):
        open_source({"source": "digits", "size": 8})


def test_every_item_is_in_exactly_one_part() -> None:
    parts = split_indices(1797)

    assert {n: len(p) for n, p in parts.items()} == {"train": 1257, "validation": 270, "test": 270}
    assert sorted(torch.cat(list(parts.values())).tolist()) == list(range(1797))


def test_a_split_is_the_same_again_and_another_with_another_seed() -> None:
    assert torch.equal(split_indices(1797)["test"], split_indices(1797)["test"])
    assert not torch.equal(split_indices(1797)["test"], split_indices(1797, seed=1)["test"])


@pytest.mark.parametrize(
    "shares",
    [{"train": 0.5}, {"train": 1.5, "test": -0.5}, {"train": 0.7, "dev": 0.3}, {"train": 0.0, "test": 1.0}],
)
def test_a_split_that_cannot_be_is_refused(shares: dict[str, float]) -> None:
    with pytest.raises(BadRequest):
        split_indices(100, shares)


def test_an_epoch_reads_every_item_once_also_where_batches_straddle_epochs() -> None:
    order = Order(torch.arange(100, 130), batch_size=7, seed=0)
    read = torch.cat([order.batch(step) for step in range(30)])

    for epoch in range(7):
        assert sorted(read[epoch * 30 : (epoch + 1) * 30].tolist()) == list(range(100, 130))
    assert read[:30].tolist() != read[30:60].tolist()


def test_a_batch_larger_than_the_data_goes_round_it() -> None:
    rows = Order(torch.arange(3), batch_size=10, seed=0).batch(0)

    assert torch.bincount(rows).tolist() in ([4, 3, 3], [3, 4, 3], [3, 3, 4])


def test_a_step_reads_the_same_whatever_was_read_before() -> None:
    one, two = Order(torch.arange(50), 8, seed=5), Order(torch.arange(50), 8, seed=5)
    for step in range(40):
        one.batch(step)

    assert torch.equal(one.batch(3), two.batch(3))
    assert not torch.equal(one.batch(3), Order(torch.arange(50), 8, seed=6).batch(3))


def test_workers_share_a_batch_without_overlap() -> None:
    order = Order(torch.arange(50), 8, seed=0)

    shares = [order.batch(6, rank, 3) for rank in range(3)]

    assert sorted(torch.cat(shares).tolist()) == sorted(order.batch(6).tolist())
