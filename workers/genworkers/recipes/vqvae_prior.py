"""The second stage of a VQ-VAE (van den Oord, Vinyals and Kavukcuoglu, 2017): a transformer that draws its codes.

The codes of the training pictures, as a published `vqvae` gives them, are learned one after the
other. What is published holds that decoder and codebook too, so that it draws by itself.
"""

from __future__ import annotations

import copy
from types import MappingProxyType
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from genworkers.recipes.averaging import follow
from genworkers.recipes.base import (
    Batch,
    Conditions,
    EvaluationContext,
    FirstStage,
    RecipeConfig,
    StepContext,
)
from genworkers.recipes.picture import ClassConfig, ClassRecipe
from genworkers.recipes.randomness import uniform_rows
from genworkers.recipes.transformer import CodeTransformer, Past
from genworkers.recipes.vqvae import Vqvae, VqvaeConfig, drawn

# Independent draws of one row; the class has stream 1.
_CODE_STREAM = 2


class VqvaePriorConfig(ClassConfig):
    """Network, optimizer and first stage. The defaults suit grids of some dozens of codes."""

    width_of_network: int = Field(default=96, ge=8, le=4096, multiple_of=8, description="Numbers that a place has.")
    layers: int = Field(default=3, ge=1, le=64, description="Layers of the transformer; each has eight heads.")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="Dropout behind each part of a layer.")
    learning_rate: float = Field(default=2e-3, gt=0, le=1, description="AdamW's step size.")
    weight_decay: float = Field(default=0.05, ge=0, le=1, description="AdamW's pull towards zero.")
    ema_decay: float = Field(
        default=0.995, ge=0, lt=1, description="Memory of the moving average of the network that is published."
    )
    batch_size: int = Field(default=64, ge=1, le=65536, description="Pictures of one training step.")
    first_stage: dict[str, Any] | None = Field(
        default=None, description="Taken from the version that the job names as its first_stage: config and digest."
    )


class VqvaePrior(ClassRecipe[VqvaePriorConfig]):
    """A transformer over a frozen VQ-VAE's codes."""

    name = "vqvae-prior"
    summary = "Second stage of vqvae: a transformer that draws its codes; by class where the data has classes."
    Config = VqvaePriorConfig
    first_stage = "vqvae"
    privacy_obstacle = "its first stage has learned of the same items, without noise"
    serve_modules = ("ema", "codebook", "decoder")
    averages = MappingProxyType({"ema": "prior"})

    @classmethod
    def fit_to_first_stage(cls, config: RecipeConfig, first: FirstStage) -> RecipeConfig:
        """Take the first stage's config and digest; raises ValueError when it is of pictures of another size."""
        told: Any = first.recipe.config
        mine: Any = config
        size, own = ((c.height, c.width, c.channels) for c in (told, mine))
        if None not in own and size != own:
            raise ValueError(f"The first stage makes pictures of {_size(size)}, and the data's are {_size(own)}.")
        about = {"digest": first.digest, "config": told.model_dump(mode="json")}
        return mine.model_copy(update={"first_stage": about})  # type: ignore[no-any-return]

    @property
    def first(self) -> Vqvae:
        """The first stage; raises ValueError when it is not known."""
        if self.config.first_stage is None:
            raise ValueError("The first stage is not known: name a published vqvae as the job's first_stage.")
        return Vqvae(VqvaeConfig.model_validate(self.config.first_stage["config"]))

    def build(self) -> nn.ModuleDict:
        """Return the transformer, its moving average, and the networks of the first stage, which stay as they are."""
        c, first = self.config, self.first
        frozen = first.build().requires_grad_(False)
        book: Any = frozen["codebook"]
        places, codes = book.shares.shape
        live = CodeTransformer(codes, places, max(1, self.class_count), c.width_of_network, c.layers, 8, c.dropout)
        ema = copy.deepcopy(live).eval().requires_grad_(False)
        return nn.ModuleDict({"prior": live, "ema": ema} | {name: frozen[name] for name in first.serve_modules})

    def optimizers(self, modules: nn.ModuleDict) -> dict[str, torch.optim.Optimizer]:
        """Return one AdamW over the transformer."""
        c = self.config
        live = modules["prior"].parameters()
        return {"prior": torch.optim.AdamW(live, lr=c.learning_rate, betas=(0.9, 0.99), weight_decay=c.weight_decay)}

    def step(self, batch: Batch, ctx: StepContext) -> dict[str, Tensor]:
        """Move the transformer towards the codes of the pictures, then the average."""
        loss = self._nats(ctx.modules["prior"], self._numbers(batch, ctx), self.labels(batch))
        ctx.optimize("prior", loss)
        follow(ctx.modules["ema"], ctx.modules["prior"], self.config.ema_decay, ctx.step)
        return {"nats_per_code": loss.detach()}

    def evaluate(self, batch: Batch, ctx: EvaluationContext) -> dict[str, Tensor]:
        """Return what a code of unseen pictures costs, beside what it costs who knows only how often each is used.

        e to these powers are the perplexities.
        """
        numbers = self._numbers(batch, ctx)
        book: Any = ctx.modules["codebook"]
        # As if each code had been seen once more: one that was never used costs much, and not all there is.
        shares = (book.counts + 1) / (book.counts + 1).sum()
        return {
            "nats_per_code": self._nats(ctx.modules["ema"], numbers, self.labels(batch)),
            "unigram_nats_per_code": -shares.log()[numbers].mean(),
        }

    def _numbers(self, batch: Batch, ctx: EvaluationContext) -> Tensor:
        with torch.no_grad():
            return self.first.numbers(ctx.modules, batch["x"])

    @staticmethod
    def _nats(network: nn.Module, numbers: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(network(numbers, labels).flatten(0, 1), numbers.flatten())

    def sample(self, modules: nn.ModuleDict, seeds: Tensor, cond: Conditions) -> Tensor:
        """Return pictures: their codes drawn one after the other, then decoded."""
        network: Any = modules["ema"]
        book: Any = modules["codebook"]
        device, places = book.vectors.device, len(book.shares)
        chances = uniform_rows(seeds, (places, 1), _CODE_STREAM).to(device)
        before, past = self.wished_classes(seeds, cond).to(device), Past()
        numbers: list[Tensor] = []
        for place in range(places):
            scores, past = network.ahead(place, before, past)
            before = drawn(scores.double().softmax(-1), chances[:, place])
            numbers.append(before)
        return self.first.pictures(modules, torch.stack(numbers, 1))


def _size(shape: tuple[int, int, int]) -> str:
    return f"{shape[0]}x{shape[1]} with {shape[2]} channels"
