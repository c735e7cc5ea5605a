"""The judge of language models: what held-out text costs them, counted by hand, beside its anchors."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache
from typing import Any

import pytest
import torch

from genplatform.errors import BadRequest
from genworkers.data.blocks import learnable
from genworkers.data.dataset import split
from genworkers.data.sources import open_source
from genworkers.data.text import Collecting, Documents
from genworkers.judging.report import Asked, Subject, judge
from genworkers.recipes.gpt import Gpt
from genworkers.sampler import Sampler
from genworkers.texts import FILLER
from genworkers.training.state import TrainState

SMALL: dict[str, Any] = {"width": 16, "layers": 1, "heads": 1, "context_length": 48, "vocabulary": 320}


@cache
def subject() -> Subject:
    """An untrained model of the beginnings of some topics."""
    torch.set_num_threads(1)
    topics, collecting = open_source({"source": "topics"}), Collecting("few", 0)
    assert isinstance(topics, Documents)
    for text in topics.texts(range(30)):
        collecting.add(text[:1000])
    documents, recipe = collecting.made(), Gpt.configured(SMALL)
    parts, record = split(documents)
    learnable(recipe, documents, dict(parts))
    modules = TrainState.fresh(recipe, 0).modules
    return Subject(Sampler(recipe, modules, 16), documents, parts, record)


def test_likelihood_stands_beside_what_frequencies_alone_make_of_the_text() -> None:
    one = subject()
    found = judge(one, Asked(samples=10_000))

    metrics = found["metrics"]
    assert set(metrics) == {"perplexity", "bits_per_byte"}
    pieces = one.sampler.recipe.pieces
    # Nothing was learned: every token is about equally likely.
    assert metrics["perplexity"]["value"] == pytest.approx(len(pieces), rel=0.2)
    anchors = metrics["bits_per_byte"]["anchors"]
    assert anchors["unigram"] < anchors["byte_unigram"] < 8
    assert 1 < metrics["perplexity"]["anchors"]["unigram"] < metrics["perplexity"]["value"]
    assert found["feature_space"] is None
    assert set(found["anchors"]) == {"unigram", "byte_unigram"}


def test_the_anchor_of_bytes_is_the_one_of_counting_them() -> None:
    one = subject()
    blocks, parts = learnable(one.sampler.recipe, one.dataset, dict(one.parts))
    pieces = one.sampler.recipe.pieces

    def counted(part: str) -> Counter[int]:
        rows = blocks.rows(parts[part])["x"][:, 1:].tolist()
        return Counter(byte for row in rows for token in row if token != FILLER for byte in pieces[token])

    learned, seen = counted("train"), counted("validation") + counted("test")
    total = sum(learned.values()) + 256
    bits = -sum(n * math.log2((learned[byte] + 1) / total) for byte, n in seen.items()) / sum(seen.values())

    found = judge(one, Asked(samples=10_000))

    assert found["metrics"]["bits_per_byte"]["anchors"]["byte_unigram"] == pytest.approx(bits, rel=1e-3)


def test_as_many_rows_are_looked_at_as_are_asked_for() -> None:
    found = judge(subject(), Asked(samples=3, metrics=("perplexity",)))

    assert found["rows"]["samples"] == 3 < found["rows"]["held_out"]
    assert list(found["metrics"]) == ["perplexity"]


def test_text_of_which_nothing_is_held_out_is_refused() -> None:
    one = subject()
    parts, record = split(one.dataset, {"train": 1.0})

    with pytest.raises(BadRequest, match="Nothing of the text is held out"):
        judge(Subject(one.sampler, one.dataset, parts, record), Asked())
