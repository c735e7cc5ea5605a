"""The Llama layout (Touvron et al., 2023): RMSNorm, rotary positions, grouped queries, SwiGLU, no biases.

Its parameters are named as `transformers` names them, so that its weights are a Hugging Face
model's as they are. It reads whole rows for training, and a few tokens at a time over a cache of
keys and values, whose shapes are the same at every step: bits of a matrix product depend on them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

ROTARY_BASE = 10_000.0
NORM_EPSILON = 1e-5


class LlamaShape(NamedTuple):
    """The sizes of a network. `width` is a multiple of `heads`, and `heads` one of `kv_heads`."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    hidden: int

    @property
    def head_dim(self) -> int:
        """The numbers of one head."""
        return self.width // self.heads


class Cache(NamedTuple):
    """Keys and values of what was read: (layers, rows, kv_heads, span, head_dim) each; a row's span is its own."""

    keys: Tensor
    values: Tensor

    def row(self, row: int) -> Cache:
        """Return one row of it, as a view."""
        return Cache(self.keys[:, row : row + 1], self.values[:, row : row + 1])

    def copy(self, row: int, to: int, length: int) -> None:
        """Copy the first positions of a row to another row."""
        for part in self:
            part[:, to, :, :length] = part[:, row, :, :length]


class Attention(nn.Module):
    """Causal attention of grouped queries with rotary positions."""

    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.shape = shape
        own, shared = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
        self.q_proj = nn.Linear(shape.width, own, bias=False)
        self.k_proj = nn.Linear(shape.width, shared, bias=False)
        self.v_proj = nn.Linear(shape.width, shared, bias=False)
        self.o_proj = nn.Linear(own, shape.width, bias=False)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], cache: Cache | None, places: Tensor | None) -> Tensor:
        """Return what (rows, length, width) attend to: themselves, or a whole cache that they are added to."""
        rows, length, _ = x.shape
        wide = (rows, length, -1, self.shape.head_dim)
        queries = _turned(self.q_proj(x).view(wide).transpose(1, 2), turn)
        keys = _turned(self.k_proj(x).view(wide).transpose(1, 2), turn)
        values = self.v_proj(x).view(wide).transpose(1, 2)
        if cache is not None and places is not None:
            keys, values = _kept(cache.keys, keys, places), _kept(cache.values, values, places)
        groups = self.shape.heads // self.shape.kv_heads
        if groups > 1:
            keys, values = keys.repeat_interleave(groups, 1), values.repeat_interleave(groups, 1)
        if places is None:
            mixed = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        else:
            mixed = _attended(queries, keys, values, places)
        out: Tensor = self.o_proj(mixed.transpose(1, 2).reshape(rows, length, -1))
        return out


def _attended(queries: Tensor, keys: Tensor, values: Tensor, places: Tensor) -> Tensor:
    """Attend to the whole span, what is not yet read masked: its shares are exactly 0, whatever lies there."""
    scores = queries @ keys.transpose(2, 3) / math.sqrt(queries.shape[-1])
    unread = torch.arange(keys.shape[2], device=places.device) > places[:, None, :, None]
    mixed: Tensor = scores.masked_fill(unread, -torch.inf).softmax(-1) @ values
    return mixed


def _kept(cache: Tensor, new: Tensor, places: Tensor) -> Tensor:
    """Write what is new to its places in the cache, and return the whole cache."""
    rows = torch.arange(len(places), device=places.device)[:, None]
    cache.transpose(1, 2)[rows, places] = new.transpose(1, 2).to(cache.dtype)
    return cache


def _turned(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    cosine, sine = turn
    first, second = x.chunk(2, -1)
    return x * cosine + torch.cat((-second, first), -1) * sine


class FeedForward(nn.Module):
    """SwiGLU (Shazeer, 2020)."""

    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.hidden, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.hidden, bias=False)
        self.down_proj = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return what is to be added to each position."""
        out: Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Block(nn.Module):
    """Attention and feed-forward, each behind a norm and added to what came in."""

    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(shape.width, NORM_EPSILON)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = nn.RMSNorm(shape.width, NORM_EPSILON)
        self.mlp = FeedForward(shape)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], cache: Cache | None, places: Tensor | None) -> Tensor:
        """Return the stream behind this block."""
        x = x + self.self_attn(self.input_layernorm(x), turn, cache, places)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Trunk(nn.Module):
    """Embedding, blocks, and the last norm."""

    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, NORM_EPSILON)


class Llama(nn.Module):
    """From tokens to scores of the next one. The embedding is also what the scores are read with."""

    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.shape = shape
        self.model = Trunk(shape)
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                # What is added to the stream is smaller in deeper networks (GPT-2; Radford et al., 2019).
                depth = math.sqrt(2 * shape.layers) if name.endswith(("o_proj.weight", "down_proj.weight")) else 1
                nn.init.normal_(parameter, std=0.02 / depth)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (rows, length, vocabulary) scores of what follows each of (rows, length) tokens."""
        return self._scores(tokens, torch.arange(tokens.shape[1], device=tokens.device), None, None)

    def cache(self, rows: int, span: int) -> Cache:
        """Return an empty cache for so many rows of so many positions."""
        weight, s = self.model.embed_tokens.weight, self.shape
        parts = weight.new_zeros((2, s.layers, rows, s.kv_heads, span, s.head_dim))
        return Cache(parts[0], parts[1])

    def extend(self, tokens: Tensor, cache: Cache, at: Tensor) -> Tensor:
        """Read (rows, length) tokens that stand from position `at` of each row on; return the scores after each.

        The cache keeps them. What lies at later positions of it changes nothing.
        """
        places = at[:, None] + torch.arange(tokens.shape[1], device=tokens.device)
        return self._scores(tokens, places, cache, places)

    def _scores(self, tokens: Tensor, where: Tensor, cache: Cache | None, places: Tensor | None) -> Tensor:
        x = self.model.embed_tokens(tokens)
        turn = self._turn(where, x.dtype)
        for number, block in enumerate(self.model.layers):
            own = None if cache is None else Cache(cache.keys[number], cache.values[number])
            x = block(x, turn, own, places)
        return functional.linear(self.model.norm(x), self.model.embed_tokens.weight)

    def _turn(self, where: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return cosine and sine of each position's angles (Su et al., 2021), for all heads."""
        even = torch.arange(0, self.shape.head_dim, 2, device=where.device, dtype=torch.float32)
        angles = where[..., None].float() * (1.0 / ROTARY_BASE ** (even / self.shape.head_dim))
        both = torch.cat((angles, angles), -1)
        if both.ndim == 3:
            both = both[:, None]
        return both.cos().to(dtype), both.sin().to(dtype)
