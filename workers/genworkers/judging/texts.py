"""The judge of language models: what unseen text costs them, beside models that know frequencies alone."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genplatform.errors import BadRequest
from genworkers.data.blocks import learnable
from genworkers.data.dataset import Dataset
from genworkers.judging.report import Asked, Findings, Subject, Watch
from genworkers.recipes.language import UNIGRAM, LanguageRecipe
from genworkers.texts import FILLER
from genworkers.training.evaluation import EngineEvaluation, at_rest
from genworkers.training.state import TrainState

TOKENS, BYTES = "unigram", "byte_unigram"

ABOUT = {
    TOKENS: "each token alone, by how often it occurs in the training part",
    BYTES: "each byte alone, by how often it occurs in the training part",
}


def judge_texts(subject: Subject, asked: Asked, watch: Watch) -> Findings:
    """Measure the likelihood of up to `asked.samples` rows of held-out tokens, spread evenly over all of them.

    Each row is as long as the model's context, and seen without what stands before it: what a token costs so is an
    upper bound of what it costs in its place.
    """
    recipe = subject.sampler.recipe
    if not isinstance(recipe, LanguageRecipe):
        raise BadRequest(f"The recipe {recipe.name} does not say what a text costs.", "Judge another model.")
    dataset, parts = learnable(recipe, subject.dataset, dict(subject.parts))
    held_out = torch.cat([parts["validation"], parts["test"]])
    if not len(held_out):
        raise BadRequest("Nothing of the text is held out.", "Give `split:` a validation or a test part.")
    chosen = held_out[torch.linspace(0, len(held_out) - 1, min(asked.samples, len(held_out))).round().long()]
    found = recipe.measures(_means(subject, dataset, chosen, asked.seed, watch))
    if not found:
        raise BadRequest("The held-out text is empty.", "Bring more of it.")
    values = {name: found[name] for name in ("perplexity", "bits_per_byte")}
    of_tokens = {"perplexity": found["unigram_perplexity"], "bits_per_byte": found["unigram_bits_per_byte"]}
    anchors = {TOKENS: of_tokens, BYTES: {"bits_per_byte": _of_bytes(recipe, dataset, chosen)}}
    for name, other in subject.others():
        its = recipe.measures(_means(other, dataset, chosen, asked.seed, watch))
        anchors[name] = {metric: its[metric] for metric in values}
    rows = {"samples": len(chosen), "train": len(parts["train"]), "held_out": len(held_out)}
    return Findings(values, anchors, ABOUT, None, rows)


def _means(subject: Subject, dataset: Dataset, rows: Tensor, seed: int, watch: Watch) -> Mapping[str, float]:
    recipe, modules = subject.sampler.recipe, subject.sampler.modules
    ctx = EngineEvaluation(TrainState(modules, {}), seed)
    sums: dict[str, float] = {}
    done = 0
    with at_rest(modules), torch.no_grad():
        for number, some in enumerate(torch.split(rows, subject.sampler.tile)):
            watch.at(done, len(rows))
            ctx.begin(number)
            for name, value in recipe.evaluate(dataset.rows(some), ctx).items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(some)
            done += len(some)
    watch.at(done, len(rows))
    return {name: total / len(rows) for name, total in sums.items()}


def _of_bytes(recipe: LanguageRecipe[Any], dataset: Dataset, rows: Tensor) -> float:
    """Return the bits per byte of those rows by the frequencies of bytes in the training part."""
    pieces = [np.bincount(np.frombuffer(piece, np.uint8), minlength=256) for piece in recipe.pieces]
    of_token = torch.from_numpy(np.stack(pieces)).double()
    learned = torch.tensor(json.loads(recipe.assets[UNIGRAM]), dtype=torch.float64) @ of_token + 1
    counts = torch.zeros(len(of_token), dtype=torch.float64)
    for some in torch.split(rows, 1024):
        tokens = dataset.rows(some)["x"][:, 1:]
        counts += torch.bincount(tokens[tokens != FILLER], minlength=len(counts))
    bytes_seen = counts @ of_token
    bits = -(bytes_seen * (learned / learned.sum()).log()).sum() / math.log(2)
    return float(bits / bytes_seen.sum())
