"""The pictures of examples/digits.yaml are good, by anchors that are computed here and not remembered."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from digit_judge import Judge
from PIL import Image
from torch import Tensor

pytestmark = [pytest.mark.platform, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge()


@pytest.fixture(scope="module")
def pictures(road: dict[str, Any]) -> Tensor:
    folder = Path(urlsplit(road["generate"]["outputs"]["uri"]).path)
    rows = np.stack([np.asarray(Image.open(p)) for p in sorted(folder.rglob("*.png"))])
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 1, 8, 8) / 127.5 - 1


def test_the_judge_is_worth_asking(judge: Judge) -> None:
    noise = torch.rand(1000, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    one_class = judge.digits.train[judge.digits.train_labels == 3]

    assert judge.accuracy() > 0.95
    assert judge.frechet(judge.digits.held_out) < 1.5
    assert judge.frechet(judge.gaussian(1000)) > 3
    assert judge.frechet(noise) > 10
    assert judge.frechet(one_class) > 10


def test_samples_are_close_to_real_digits(judge: Judge, pictures: Tensor, record_property: Any) -> None:
    distance, gaussian = judge.frechet(pictures), judge.frechet(judge.gaussian(len(pictures)))
    record_property("frechet", distance)
    record_property("frechet_gaussian", gaussian)

    assert distance < 3
    assert distance < gaussian / 2


def test_no_class_is_forgotten(judge: Judge, pictures: Tensor) -> None:
    shares = torch.bincount(judge.classes(pictures), minlength=10) / len(pictures)

    assert shares.min() >= 0.01, shares


def test_samples_are_not_copies(judge: Judge, pictures: Tensor) -> None:
    ours = judge.nearest_training_distance(pictures)
    held_out = judge.nearest_training_distance(judge.digits.held_out)

    assert ours >= held_out
