"""A small causal transformer (Vaswani et al., 2017, normalised before each part) over a fixed number of codes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

# Of each block, what the places before look like: keys and values, (rows, heads, places, size) each.
Past = list[tuple[Tensor, Tensor]]


class CodeTransformer(nn.Module):
    """From a class and the codes before to the next code's scores, for each of `places` codes."""

    def __init__(
        self, codes: int, places: int, classes: int, width: int, layers: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.classes = nn.Embedding(classes, width)
        self.codes = nn.Embedding(codes, width)
        self.places = nn.Parameter(torch.zeros(places, width))
        self.blocks = nn.ModuleList(_Block(width, heads, dropout) for _ in range(layers))
        self.last = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, codes))
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, 0, 0.02)
        nn.init.normal_(self.places, 0, 0.02)

    def forward(self, numbers: Tensor, classes: Tensor) -> Tensor:
        """Return scores (rows, places, codes) of (rows, places) numbers, each seeing those before it alone."""
        before = torch.cat([self.classes(classes)[:, None], self.codes(numbers[:, :-1])], 1)
        h = before + self.places
        for block in self.blocks:
            h, _ = block(h, None)
        scores: Tensor = self.last(h)
        return scores

    def ahead(self, place: int, before: Tensor, past: Past) -> tuple[Tensor, Past]:
        """Return the scores (rows, codes) of one place, and the past with it.

        `before` holds the number at the place before, or the class for the first.
        """
        told = self.codes(before) if place else self.classes(before)
        h = (told + self.places[place])[:, None]
        grown: Past = []
        for number, block in enumerate(self.blocks):
            h, seen = block(h, past[number] if past else None)
            grown.append(seen)
        return self.last(h)[:, 0], grown


class _Block(nn.Module):
    """Attention to what is before, and two layers; a way past each."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.one, self.two = nn.LayerNorm(width), nn.LayerNorm(width)
        self.look, self.say = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.think = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the block's output, and the keys and values of all places until now."""
        rows, places, width = x.shape
        query, key, value = (
            part.reshape(rows, places, self.heads, width // self.heads).transpose(1, 2)
            for part in self.look(self.one(x)).chunk(3, 2)
        )
        if past is not None:
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=past is None and places > 1)
        x = x + self.dropout(self.say(seen.transpose(1, 2).reshape(rows, places, width)))
        return x + self.dropout(self.think(self.two(x))), (key, value)
