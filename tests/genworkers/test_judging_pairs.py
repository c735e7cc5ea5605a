"""The judge of models that make pictures of pictures, against other people's code."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from genplatform.errors import BadRequest
from genworkers.data import digits
from genworkers.data.dataset import split
from genworkers.judging.report import Asked, Subject, judge
from genworkers.recipes.base import Batch, Recipe, RecipeConfig
from genworkers.recipes.given import Picture, PictureCondition
from genworkers.recipes.likeness import ssim
from genworkers.sampler import Sampler


class _Lighter(Recipe[RecipeConfig]):
    """Makes a lighter picture of the one that it is given."""

    name = "lighter"
    summary = "Lighter pictures."
    Config = RecipeConfig
    cond_schema = PictureCondition

    def __init__(self) -> None:
        super().__init__(RecipeConfig())

    def asked(self, batch: Batch) -> list[dict[str, Any]] | None:
        return [{"source": Picture("held out", pixels)} for pixels in batch["source"]]

    def sample(self, modules: nn.ModuleDict, seeds: Tensor, cond: Any) -> Tensor:
        return (torch.stack([wish.source.pixels for wish in cond]) + 0.25).clamp(-1, 1)


def judged(recipe: Recipe[Any], **shares: float) -> dict[str, Any]:
    torch.set_num_threads(1)
    dataset = digits.outlines()
    parts, record = split(dataset, shares or None)
    return judge(Subject(Sampler(recipe, nn.ModuleDict(), 64), dataset, parts, record), Asked(100))


def levels(rows: Tensor) -> Tensor:
    """Pictures from 0 to 1, as a PNG holds them."""
    return ((rows + 1) * 127.5).round() / 255


def test_likeness_is_the_one_of_torchmetrics_beside_its_anchors() -> None:
    from torchmetrics.functional.image import peak_signal_noise_ratio

    dataset = digits.outlines()
    parts, _ = split(dataset)
    batch = dataset.rows(torch.cat([parts["validation"], parts["test"]])[:100])
    source, wanted, made = (levels(r) for r in (batch["source"], batch["x"], (batch["source"] + 0.25).clamp(-1, 1)))

    found = judged(_Lighter())

    def decibels(one: Tensor) -> float:
        return float(peak_signal_noise_ratio(one, wanted, data_range=1.0, dim=(1, 2, 3)))

    metrics = found["metrics"]
    assert set(metrics) == {"psnr", "ssim"}
    assert metrics["psnr"]["value"] == pytest.approx(decibels(made), rel=1e-4)
    assert metrics["psnr"]["anchors"]["source"] == pytest.approx(decibels(source), rel=1e-4)
    mean = levels(dataset.rows(parts["train"])["x"]).mean(0, keepdim=True).expand_as(wanted)
    assert metrics["psnr"]["anchors"]["mean_picture"] == pytest.approx(decibels(mean), rel=1e-3)
    assert metrics["ssim"]["value"] == pytest.approx(float(ssim(made, wanted).mean()), rel=1e-4)
    assert set(found["anchors"]) == {"source", "mean_picture"}
    assert found["feature_space"] is None
    assert found["rows"] == {"samples": 100, "train": 1257, "held_out": 100 + 440}


def test_pairs_of_which_none_are_held_out_are_refused() -> None:
    with pytest.raises(BadRequest, match="None of the pairs are held out"):
        judged(_Lighter(), train=1.0)
