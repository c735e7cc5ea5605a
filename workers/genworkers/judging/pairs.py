"""The judge of models that make pictures of pictures: what they make of held-out ones, beside what it should be."""

from __future__ import annotations

import torch
from torch import Tensor

from genplatform.domain.seeds import item_seed
from genplatform.errors import BadRequest
from genworkers.images import pictures
from genworkers.judging import seen
from genworkers.judging.report import Asked, Findings, Subject, Watch
from genworkers.recipes.likeness import psnr, ssim

SOURCE, MEAN = "source", "mean_picture"
# A mean of more rows is no better an anchor.
MOST_ROWS = 10_000

ABOUT = {
    SOURCE: "the picture that it is made of, left as it is",
    MEAN: "the mean of the training part's pictures, whatever it is to be made of",
}


def judge_pairs(subject: Subject, asked: Asked, watch: Watch) -> Findings:
    """Hold what the model makes of up to `asked.samples` held-out pairs beside the pictures that are there."""
    parts, dataset, sampler = subject.parts, subject.dataset, subject.sampler
    all_held_out = torch.cat([parts["validation"], parts["test"]])
    held_out = all_held_out[: asked.samples]
    if not len(held_out):
        raise BadRequest("None of the pairs are held out.", "Give `split:` a validation or a test part.")
    mean = _mean(subject)
    sums: dict[str, dict[str, float]] = {}
    for start in range(0, len(held_out), sampler.tile):
        watch.at(start, len(held_out))
        batch = dataset.rows(held_out[start : start + sampler.tile])
        wishes = sampler.recipe.asked(batch)
        if wishes is None:
            raise BadRequest(
                f"The recipe {sampler.recipe.name} makes no pictures of pictures.", "Judge it on single pictures."
            )
        seeds = [item_seed(asked.seed, index) for index in range(start, start + len(wishes))]
        wanted = _levels(batch["x"])
        compared = {"": seen.of_payloads(sampler.draw(seeds, wishes), whole=True), MEAN: mean.expand_as(wanted)}
        for name, model in subject.beside.items():
            compared[name] = seen.of_payloads(model.sampler.draw(seeds, wishes), whole=True)
        if batch["source"].shape == batch["x"].shape:
            compared[SOURCE] = _levels(batch["source"])
        for name, made in compared.items():
            told = sums.setdefault(name, {"psnr": 0.0, "ssim": 0.0})
            one, other = (made + 1) / 2, (wanted + 1) / 2
            told["psnr"] += float(psnr(one, other).sum())
            told["ssim"] += float(ssim(one, other).sum())
    watch.at(len(held_out), len(held_out))
    means = {name: {m: total / len(held_out) for m, total in told.items()} for name, told in sums.items()}
    values = means.pop("")
    rows = {"samples": len(held_out), "train": len(parts["train"]), "held_out": len(all_held_out)}
    return Findings(values, means, {name: ABOUT[name] for name in means if name in ABOUT}, None, rows)


def _levels(rows: Tensor) -> Tensor:
    """Return pictures as a PNG of them holds them."""
    return seen.of_payloads(pictures(rows), whole=True)


def _mean(subject: Subject) -> Tensor:
    train = subject.parts["train"][:MOST_ROWS]
    total = torch.zeros(1, dtype=torch.float64)
    for some in torch.split(train, seen.ROWS_AT_ONCE):
        total = total + subject.dataset.rows(some)["x"].double().sum(0)
    return (total / len(train)).float()[None]
