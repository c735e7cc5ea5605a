"""Texts that grow side by side, each in a slot of its own, a token a step: continuous batching.

Every pass has the same shapes, and a slot's numbers depend on that slot alone; so a text is the
same whatever grows beside it, and a slot whose text has ended may begin another at any time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from genworkers.recipes.decoding import choose
from genworkers.recipes.llama import Cache
from genworkers.recipes.randomness import uniform_rows

READ_AT_ONCE = 32  # tokens of a prompt
STOP, LENGTH = "stop", "length"


class Network(Protocol):
    """A language model that reads a few tokens at a time."""

    def cache(self, rows: int, span: int) -> Cache:
        """Return an empty cache."""

    def extend(self, tokens: Tensor, cache: Cache, at: Tensor) -> Tensor:
        """Read tokens, keep them, and return the scores after each."""


@dataclass(frozen=True)
class Beginning:
    """What a text begins with, and how it goes on."""

    seed: int
    tokens: tuple[int, ...]  # one at least; they and `most` are no more than the context
    most: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    stop: tuple[bytes, ...] = ()
    echo: bytes = b""  # stands before what is made


class Grown(NamedTuple):
    """What a step added to a text, and why it ended, if it did."""

    slot: int
    piece: bytes
    ended: str | None


@dataclass
class _Text:
    begun: Beginning
    chances: Tensor
    made: bytearray = field(default_factory=bytearray)
    count: int = 0
    ended: str | None = None


class Slots:
    """A fixed number of slots over one network. `pieces` are the bytes of each token; `end` is the token that ends."""

    def __init__(self, net: Network, count: int, context: int, pieces: list[bytes], end: int) -> None:
        self._net, self._pieces, self._end, self._context = net, pieces, end, context
        self._cache = net.cache(count, context + READ_AT_ONCE)
        self._device = self._cache.keys.device
        self._texts: list[_Text | None] = [None] * count
        self._last = torch.zeros(count, dtype=torch.long)
        self._at = torch.zeros(count, dtype=torch.long)

    @property
    def busy(self) -> bool:
        """Whether a text still grows."""
        return any(text is not None and text.ended is None for text in self._texts)

    def prefill(self, slot: int, begun: Beginning) -> None:
        """Begin a text in a slot, and read what it begins with but its last token, which the next step reads."""
        if not begun.tokens or len(begun.tokens) + begun.most > self._context:
            raise ValueError(f"{len(begun.tokens)} and {begun.most} tokens are not 1 to {self._context}.")
        before = begun.tokens[:-1]
        known = self._holder_of(begun.tokens, slot)
        if known is not None:
            self._cache.copy(known, slot, len(before))
        else:
            self._read(slot, before)
        chances = uniform_rows(torch.tensor([begun.seed]), (max(1, begun.most),))[0]
        self._texts[slot] = _Text(begun, chances, ended=None if begun.most else LENGTH)
        self._last[slot], self._at[slot] = begun.tokens[-1], len(before)

    def _holder_of(self, tokens: tuple[int, ...], slot: int) -> int | None:
        """Return another slot whose text begins alike: what was read of it stays as it is until it is replaced."""
        return next(
            (other for other, text in enumerate(self._texts) if text and text.begun.tokens == tokens and other != slot),
            None,
        )

    def _read(self, slot: int, tokens: tuple[int, ...]) -> None:
        row = self._cache.row(slot)
        for start in range(0, len(tokens), READ_AT_ONCE):
            some = list(tokens[start : start + READ_AT_ONCE])
            filled = torch.tensor([some + [self._end] * (READ_AT_ONCE - len(some))])
            self._net.extend(filled.to(self._device), row, torch.tensor([start], device=self._device))

    def decode_step(self) -> list[Grown]:
        """Add one token to each text that grows; return what was added, a slot each."""
        scores = self._net.extend(self._last[:, None].to(self._device), self._cache, self._at.to(self._device))
        growing = [(slot, text) for slot, text in enumerate(self._texts) if text is not None and text.ended is None]
        chosen = choose(scores[:, 0].cpu(), *self._wishes()).tolist()
        return [self._add(slot, text, chosen[slot]) for slot, text in growing]

    def _wishes(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return chance, temperature, top_k and top_p of each slot; a slot where nothing grows takes the best."""
        rows = [
            (0.0, 0.0, 0, 1.0)
            if text is None or text.ended is not None
            else (text.chances[text.count].item(), text.begun.temperature, text.begun.top_k, text.begun.top_p)
            for text in self._texts
        ]
        chance, temperature, top_k, top_p = zip(*rows, strict=True)
        return (
            torch.tensor(chance, dtype=torch.float64),
            torch.tensor(temperature, dtype=torch.float64),
            torch.tensor(top_k),
            torch.tensor(top_p, dtype=torch.float64),
        )

    def _add(self, slot: int, text: _Text, token: int) -> Grown:
        text.count += 1
        if token == self._end:
            text.ended = STOP
            return Grown(slot, b"", STOP)
        before = len(text.made)
        text.made += self._pieces[token]
        cut = _first_of(text.begun.stop, text.made, before)
        if cut is not None:
            del text.made[cut:]
            text.ended = STOP
        elif text.count >= text.begun.most:
            text.ended = LENGTH
        self._last[slot] = token
        self._at[slot] += 1
        return Grown(slot, bytes(text.made[before:]), text.ended)

    def text(self, slot: int) -> bytes:
        """Return what has grown in a slot, behind what it is to echo."""
        text = self._texts[slot]
        return b"" if text is None else text.begun.echo + bytes(text.made)

    def told(self, slot: int) -> dict[str, Any]:
        """Return how many tokens a slot's text began with and was made of, and why it ended."""
        text = self._texts[slot]
        if text is None:
            return {}
        read = len(text.begun.tokens)
        return {"prompt_tokens": read, "completion_tokens": text.count, "finish_reason": text.ended}


def _first_of(stops: tuple[bytes, ...], made: bytearray, before: int) -> int | None:
    """Return where the first of some texts begins in what was made, seen from its last piece on."""
    found = [made.find(stop, max(0, before - len(stop) + 1)) for stop in stops]
    return min((place for place in found if place >= 0), default=None)
