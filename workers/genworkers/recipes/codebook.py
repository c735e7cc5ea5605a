"""A codebook that follows what it is used for (van den Oord, Vinyals and Kavukcuoglu, 2017, appendix A.1).

Each code is the moving mean of the vectors that it stood for; no gradient reaches it. A code that
is hardly used any more begins anew at one of the vectors at hand (Dhariwal et al., 2020), so that
all of them are worth their place.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_DEAD = 0.02  # a code begins anew when it is used less than so often, in times of what is even


class Codebook(nn.Module):
    """Codes by number: `vectors` (codes, size), and how often each was used, in all and at each place."""

    vectors: Tensor
    sums: Tensor
    counts: Tensor
    shares: Tensor

    def __init__(self, codes: int, size: int, places: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.randn(codes, size))
        self.register_buffer("sums", torch.zeros(codes, size))
        self.register_buffer("counts", torch.zeros(codes))
        self.register_buffer("shares", torch.full((places, codes), 1 / codes))

    def nearest(self, vectors: Tensor) -> Tensor:
        """Return the number of each vector's nearest code, for (..., size) vectors."""
        flat = vectors.reshape(-1, vectors.shape[-1])
        distances = self.vectors.square().sum(1) - 2 * flat @ self.vectors.T
        return distances.argmin(1).reshape(vectors.shape[:-1])

    @torch.no_grad()
    def revive(self, vectors: Tensor, generator: torch.Generator) -> None:
        """Let codes that are hardly used begin anew at some of these (rows, places, size) vectors."""
        flat = vectors.flatten(0, 1).float()
        even = len(flat) / len(self.counts)
        chosen = torch.randint(len(flat), (len(self.counts),), generator=generator).to(flat.device)
        dead = self.counts < _DEAD * even
        self.vectors.copy_(torch.where(dead[:, None], flat[chosen], self.vectors))
        self.sums.copy_(torch.where(dead[:, None], even * flat[chosen], self.sums))
        self.counts.masked_fill_(dead, even)

    @torch.no_grad()
    def learn(self, vectors: Tensor, numbers: Tensor, decay: float) -> None:
        """Move the codes towards the (rows, places, size) vectors that they stood for."""
        used = nn.functional.one_hot(numbers, len(self.counts)).to(self.vectors.dtype)
        flat = used.flatten(0, 1)
        self.counts.lerp_(flat.sum(0), 1 - decay)
        # What a code is the mean of is summed in full precision, whatever the networks compute in.
        with torch.autocast(vectors.device.type, enabled=False):
            self.sums.lerp_(flat.T @ vectors.flatten(0, 1).float(), 1 - decay)
        self.vectors.copy_(self.sums / self.counts.clamp(min=1e-6)[:, None])
        self.shares.lerp_(used.mean(0), 1 - decay)

    def perplexity(self, numbers: Tensor) -> Tensor:
        """Return how many codes these numbers use, as if all that are used were used alike."""
        shares = torch.bincount(numbers.flatten(), minlength=len(self.counts)).double() / numbers.numel()
        found: Tensor = torch.special.entr(shares).sum().exp()
        return found
