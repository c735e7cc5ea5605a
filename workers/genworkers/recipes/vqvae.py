"""A vector-quantised autoencoder (van den Oord, Vinyals and Kavukcuoglu, 2017): pictures as a small grid of codes.

It is the first stage of two: `vqvae-prior` learns which codes stand beside which, and so makes
pictures. By itself it draws each place's code by how often it stands there, whatever stands
beside it: that is what a prior has to beat.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from genworkers.recipes.base import TUNABLE, Batch, Conditions, EvaluationContext, StepContext
from genworkers.recipes.codebook import Codebook
from genworkers.recipes.fitting import picture_shape
from genworkers.recipes.picture import PictureConfig, PictureRecipe
from genworkers.recipes.randomness import uniform_rows
from genworkers.recipes.squeezing import Decoder, Encoder, sides

_FORGETS = 0.01  # of the pictures' mean and variance, which errors are measured by


class VqvaeConfig(PictureConfig):
    """Network, codebook and optimizer."""

    width_of_network: int = Field(
        default=64, ge=16, le=1024, multiple_of=16, description="Channels of the networks at the codes' size."
    )
    halvings: int | None = Field(
        default=None,
        ge=1,
        le=8,
        description="How often the sides are halved down to the grid of codes. Left out: until it has 8 or less.",
    )
    codes: int = Field(default=64, ge=2, le=65536, description="Codes in the book.")
    code_size: int = Field(default=16, ge=1, le=1024, description="Numbers that a code is.")
    codebook_decay: float = Field(default=0.99, ge=0, lt=1, description="Memory of the codes.")
    commitment: float = Field(
        default=0.25, ge=0, le=100, description="How strongly the encoder is held to the codes that it chose."
    )
    learning_rate: float = Field(default=1e-3, gt=0, le=1, description="AdamW's step size.")
    weight_decay: float = Field(default=0.0, ge=0, le=1, description="AdamW's pull towards zero.")
    batch_size: int = Field(default=64, ge=1, le=65536, description="Pictures of one training step.")


class Vqvae(PictureRecipe[VqvaeConfig]):
    """Encoder, codebook and decoder; all three are published."""

    name = "vqvae"
    summary = "VQ-VAE: pictures as a grid of codes. The first stage of vqvae-prior, which makes the better pictures."
    Config = VqvaeConfig
    serve_modules = ("encoder", "codebook", "decoder")
    tunable = (*TUNABLE, "codebook_decay", "commitment")
    no_adapters = "its codebook follows what it sees, and no gradient"
    privacy_obstacle = "its codebook follows the items without noise"
    whole_batches = "its codebook follows all rows of a batch at once"
    worker_dependent = "The codebook follows the rows that one worker sees: more workers train another model."

    def build(self) -> nn.ModuleDict:
        """Return the networks, and the mean and variance of the pictures, which errors are measured by."""
        c, shape = self.config, picture_shape(self.config)
        grids = sides(shape[1], shape[2], c.halvings)
        places = grids[-1][0] * grids[-1][1]
        return nn.ModuleDict(
            {
                "encoder": Encoder(shape[0], c.width_of_network, len(grids) - 1, c.code_size),
                "codebook": Codebook(c.codes, c.code_size, places),
                "decoder": Decoder(shape[0], c.width_of_network, grids, c.code_size),
                "pictures": _Moments(shape),
            }
        )

    def optimizers(self, modules: nn.ModuleDict) -> dict[str, torch.optim.Optimizer]:
        """Return one AdamW over encoder and decoder; the codebook learns by itself."""
        c = self.config
        both = [*modules["encoder"].parameters(), *modules["decoder"].parameters()]
        return {"both": torch.optim.AdamW(both, lr=c.learning_rate, betas=(0.9, 0.99), weight_decay=c.weight_decay)}

    def step(self, batch: Batch, ctx: StepContext) -> dict[str, Tensor]:
        """Move encoder and decoder towards the pictures and the codes, then the codes."""
        c, x = self.config, batch["x"]
        book: Any = ctx.modules["codebook"]
        pictures: Any = ctx.modules["pictures"]
        pictures.follow(x, max(_FORGETS, 1 / (ctx.step + 1)))
        vectors = ctx.modules["encoder"](x)
        book.revive(vectors.detach(), ctx.generator)
        numbers = book.nearest(vectors)
        codes = book.vectors[numbers]
        # Straight through: to the gradient, choosing a code changes nothing.
        made = ctx.modules["decoder"](vectors + (codes - vectors).detach())
        mse = functional.mse_loss(made, x)
        commitment = functional.mse_loss(vectors, codes)
        ctx.optimize("both", mse + c.commitment * commitment)
        book.learn(vectors.detach(), numbers, c.codebook_decay)
        return {"mse": mse.detach(), "commitment": commitment.detach(), "perplexity": book.perplexity(numbers)}

    def evaluate(self, batch: Batch, ctx: EvaluationContext) -> dict[str, Tensor]:
        """Return the error of unseen pictures made anew, also as a share of their variance, and the codes in use.

        The variance is around the mean picture, and of the training data: 1 is what that one picture does.
        """
        x = batch["x"]
        book: Any = ctx.modules["codebook"]
        pictures: Any = ctx.modules["pictures"]
        numbers = self.numbers(ctx.modules, x)
        mse = functional.mse_loss(self.pictures(ctx.modules, numbers), x)
        shares = {"mse": mse, "unexplained_variance": mse / pictures.variance()}
        return shares | {"perplexity": book.perplexity(numbers)}

    def numbers(self, modules: nn.ModuleDict, x: Tensor) -> Tensor:
        """Return the codes of pictures: (rows, places) numbers, row by row of the grid."""
        book: Any = modules["codebook"]
        found: Tensor = book.nearest(modules["encoder"](x))
        return found

    def pictures(self, modules: nn.ModuleDict, numbers: Tensor) -> Tensor:
        """Return the pictures of (rows, places) codes, in [-1, 1]."""
        book: Any = modules["codebook"]
        made: Tensor = modules["decoder"](book.vectors[numbers])
        return made.clamp(-1, 1)

    def sample(self, modules: nn.ModuleDict, seeds: Tensor, cond: Conditions) -> Tensor:
        """Return pictures of codes that are drawn for each place by itself."""
        book: Any = modules["codebook"]
        chances = uniform_rows(seeds, (len(book.shares), 1)).to(book.shares.device)
        return self.pictures(modules, drawn(book.shares.double(), chances))


def drawn(shares: Tensor, chances: Tensor) -> Tensor:
    """Return numbers drawn by their `shares` (..., numbers), each with its uniform chance (..., 1)."""
    reached = shares.cumsum(-1)
    # What rounding leaves of the whole must not be a number that is never drawn.
    return (reached <= chances * reached[..., -1:]).sum(-1).clamp(max=shares.shape[-1] - 1)


class _Moments(nn.Module):
    """The moving mean of pictures, and of their squares."""

    mean: Tensor
    square: Tensor

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("square", torch.zeros(shape))

    @torch.no_grad()
    def follow(self, x: Tensor, weight: float) -> None:
        """Take these pictures in."""
        self.mean.lerp_(x.mean(0), weight)
        self.square.lerp_(x.square().mean(0), weight)

    def variance(self) -> Tensor:
        """Return the variance of a pixel around its mean, as a mean over all pixels."""
        return (self.square - self.mean.square()).mean().clamp(min=1e-12)
