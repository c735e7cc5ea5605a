"""The next token of each row, drawn from its scores by a number of its own."""

from __future__ import annotations

import torch
from torch import Tensor


def choose(scores: Tensor, chance: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor) -> Tensor:
    """Return one token a row: a function of that row's scores, its chance in [0, 1) and its wishes.

    `scores` is (rows, vocabulary). Temperature 0 takes the best. `top_k` above 0 leaves so many of the best, and
    `top_p` below 1 the fewest of these that have that share (Holtzman et al., 2020); one is always left.
    """
    ranked, tokens = scores.double().sort(dim=-1, descending=True, stable=True)
    rank = torch.arange(scores.shape[1])
    shares = (ranked / temperature.clamp(min=1e-6)[:, None]).softmax(-1)
    shares = shares.masked_fill((top_k[:, None] > 0) & (rank >= top_k[:, None]), 0)
    shares = shares / shares.sum(-1, keepdim=True)
    better = shares.cumsum(-1) - shares
    shares = shares.masked_fill((better >= top_p[:, None]) & (rank > 0), 0)
    passed = shares.cumsum(-1) <= chance[:, None] * shares.sum(-1, keepdim=True)
    left = (shares > 0).sum(-1)
    place = torch.minimum(passed.sum(-1), left - 1).masked_fill(temperature == 0, 0)
    return tokens.gather(1, place[:, None]).squeeze(1)
