"""Texts as rows of tokens of one length, on disk: what language models learn from, addressed by index.

The texts of a part follow one another and are cut into rows; each row begins with the last token
of the one before, so that every token is predicted once. The last is filled up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genworkers.data.dataset import Dataset
from genworkers.data.rows import Rows
from genworkers.data.text import Documents
from genworkers.recipes.base import TEXT, Recipe
from genworkers.recipes.language import LanguageRecipe
from genworkers.texts import FILLER

Ids = np.ndarray[Any, np.dtype[Any]]


class Texts:
    """Some documents, read anew whenever somebody goes through them."""

    def __init__(self, documents: Documents, part: Tensor) -> None:
        # In the order that they were read in: what follows one another there mostly belongs together.
        self._documents, self._part = documents, part.sort().values

    def __iter__(self) -> Iterator[str]:
        return self._documents.texts(self._part.tolist())


class Blocks(Dataset):
    """Rows of tokens, filled up with -1; its digest is that of the texts."""

    modality = TEXT
    shape = None
    labels = None

    def __init__(self, documents: Documents, kept: Rows) -> None:
        self.name, self.digest, self.notes = documents.name, documents.digest, documents.notes
        self.revision = documents.revision
        self._kept = kept

    def __len__(self) -> int:
        return len(self._kept)

    def rows(self, indices: Tensor) -> dict[str, Tensor]:
        """Return those rows as int64."""
        return {"x": torch.from_numpy(self._kept.take(indices.numpy()).astype(np.int64))}


def learnable(recipe: Recipe[Any], dataset: Dataset, parts: dict[str, Tensor]) -> tuple[Dataset, dict[str, Tensor]]:
    """Return what a recipe learns from, and its parts: texts as rows of tokens, and all else as it is.

    A recipe that lacks assets is prepared first, with the texts of the training part.
    """
    if not isinstance(dataset, Documents):
        return dataset, parts
    if not recipe.assets.keys() >= set(recipe.asset_names):
        recipe.assets = recipe.prepare(Texts(dataset, parts["train"]))
    return in_blocks(recipe, dataset, parts) if isinstance(recipe, LanguageRecipe) else (dataset, parts)


def in_blocks(
    recipe: LanguageRecipe[Any], documents: Documents, parts: Mapping[str, Tensor]
) -> tuple[Blocks, dict[str, Tensor]]:
    """Return the parts' texts as rows of tokens, and the indices of each part's rows."""
    kept = Rows((recipe.block_length,), np.dtype("<i2" if len(recipe.pieces) <= 1 << 15 else "<i4"))
    cut = {}
    for name, part in parts.items():
        start = len(kept)
        for row in _cut(recipe.tokens(Texts(documents, part)) if len(part) else (), recipe.block_length):
            kept.append(row)
        cut[name] = torch.arange(start, len(kept))
    kept.finish()
    return Blocks(documents, kept), cut


def _cut(tokens: Iterable[Ids], length: int) -> Iterator[Ids]:
    rest = np.empty(0, dtype=np.int64)
    waiting: list[Ids] = []
    size = 0
    for some in tokens:
        waiting.append(some)
        size += len(some)
        if size >= length:
            rest = np.concatenate(waiting)
            at = 0
            while len(rest) - at >= length:
                yield rest[at : at + length]
                at += length - 1
            waiting = [rest[at:]]
            size = len(waiting[0])
    rest = np.concatenate(waiting) if waiting else rest
    if len(rest) > 1:
        yield np.concatenate((rest, np.full(length - len(rest), FILLER, dtype=np.int64)))
