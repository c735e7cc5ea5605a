"""What families of language models share: tokens learned from the data, wishes, measures, and how texts grow."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import torch
from pydantic import Field, create_model, field_validator, model_validator
from torch import Tensor, nn
from torch.nn import functional

from genworkers.images import Payload
from genworkers.recipes import bpe
from genworkers.recipes.base import (
    TEXT,
    Batch,
    Condition,
    Conditions,
    EvaluationContext,
    File,
    Recipe,
    RecipeConfig,
    StepContext,
)
from genworkers.recipes.slots import Beginning, Slots
from genworkers.texts import FILLER, MIME, utf8_rows, written

TOKENIZER = "tokenizer.json"
UNIGRAM = "unigram.json"
USUAL_LENGTH = 128
LONGEST_PROMPT = 1 << 20


@lru_cache(maxsize=4)
def _unigram_nats(counts: bytes) -> Tensor:
    """Return what each token costs by how often it is in the training part, once for all batches."""
    # One more of each, so that no token of the data is impossible.
    smoothed = torch.tensor(json.loads(counts), dtype=torch.float64) + 1
    return -(smoothed / smoothed.sum()).log()


class LanguageConfig(RecipeConfig):
    """Tokens and context."""

    vocabulary: int = Field(
        default=1024,
        ge=bpe.SMALLEST_VOCABULARY,
        le=1 << 20,
        description="How many tokens are learned from the data, at most.",
    )
    context_length: int = Field(
        default=128, ge=2, le=1 << 17, description="Tokens that the model sees at once: the longest prompt and text."
    )


class TextCondition(Condition):
    """What a text begins with, and how it is drawn."""

    prompt: str = Field(default="", max_length=LONGEST_PROMPT, description="What the text goes on from.")
    max_new_tokens: int | None = Field(
        default=None, ge=1, description=f"Tokens that are made at most; left out, {USUAL_LENGTH} or what has room."
    )
    temperature: float = Field(default=1.0, ge=0, le=10, description="0 takes the likeliest token each time.")
    top_p: float = Field(default=1.0, gt=0, le=1, description="Draw from the likeliest tokens that have this share.")
    top_k: int = Field(default=0, ge=0, description="Draw from so many of the likeliest tokens; 0: from all.")
    stop: tuple[str, ...] = Field(default=(), max_length=16, description="Texts before which it ends.")
    echo: bool = Field(default=False, description="Whether the prompt stands before what is made.")

    @field_validator("stop", mode="before")
    @classmethod
    def _as_several(cls, given: Any) -> Any:
        return (given,) if isinstance(given, str) else given

    @field_validator("stop")
    @classmethod
    def _has_letters(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        if "" in given:
            raise ValueError("an empty text would stop before anything is made")
        return given


C = TypeVar("C", bound=LanguageConfig)


class LanguageRecipe(Recipe[C]):
    """A family whose items are texts, learned from blocks of tokens: (N, context + 1), filled up with -1.

    A subclass says what its network is: `build`, `step`, `scores` and `network`.
    """

    modality = TEXT
    formats = ("txt",)
    tile = 16
    cond_schema = TextCondition
    asset_names: ClassVar[tuple[str, ...]] = (TOKENIZER, UNIGRAM)
    assets_of_data = (UNIGRAM,)
    privacy_obstacle = "its tokens are learned of the texts without noise, and published with how often each occurs"

    def prepare(self, texts: Iterable[str]) -> dict[str, bytes]:
        """Learn the tokens, and count them: the likelihood of a model that knows these counts alone is an anchor.

        One that goes on from another model has that one's tokens.
        """
        learned = self.assets.get(TOKENIZER) or bpe.learn(texts, self.config.vocabulary)
        counts = np.zeros(len(bpe.pieces(learned)), dtype=np.int64)
        for ids in bpe.stream(bpe.read(learned), texts, self.end_token):
            counts += np.bincount(ids, minlength=len(counts))
        return {TOKENIZER: learned, UNIGRAM: json.dumps(counts.tolist(), separators=(",", ":")).encode()}

    @property
    def tokenizer(self) -> bytes:
        """What `prepare` learned; raises ValueError before that."""
        if TOKENIZER not in self.assets:
            raise ValueError(f"The recipe {self.name} has no tokenizer: it is learned from the data first.")
        return self.assets[TOKENIZER]

    @property
    def end_token(self) -> int:
        """The token that ends a text, and stands before each."""
        return bpe.END_TOKEN

    @property
    def pieces(self) -> list[bytes]:
        """The bytes of each token."""
        return bpe.pieces(self.tokenizer)

    @property
    def block_length(self) -> int:
        """The tokens of a row of a batch."""
        return self.config.context_length + 1

    def tokens(self, texts: Iterable[str]) -> Iterator[bpe.Ids]:
        """Yield the tokens of texts, one after the other, with one that ends before and behind each."""
        return bpe.stream(bpe.read(self.tokenizer), texts, self.end_token)

    @property
    def conditions(self) -> type[TextCondition]:
        """Prompts and lengths that have room in the context."""
        # Kept with what it was made for: each request asks.
        known: tuple[bytes, type[TextCondition]] | None = getattr(self, "_conditions", None)
        own = self.assets.get(TOKENIZER, b"")
        if known is None or known[0] is not own:
            known = self._conditions = own, _narrowed(self)
        return known[1]

    def step(self, batch: Batch, ctx: StepContext) -> dict[str, Tensor]:
        """Lower the mean cost of a token."""
        costs, wanted = self.loss(ctx.modules, batch["x"])
        tokens = (wanted != FILLER).sum()
        loss = costs.sum() / tokens.clamp(min=1)
        ctx.optimize("net", loss, tokens)
        return {"loss": loss.detach()}

    def scores(self, modules: nn.ModuleDict, tokens: Tensor) -> Tensor:
        """Return (rows, length, vocabulary) scores of what follows each token."""
        found: Tensor = modules["net"](tokens)
        return found

    def network(self, modules: nn.ModuleDict) -> Any:
        """Return the network that texts grow by; see `slots.Network`."""
        return modules["net"]

    def huggingface(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return `config.json` and the tensors of the model of `transformers` that is this one."""
        raise ValueError(f"The recipe {self.name} does not say what it is in transformers.")

    def loss(self, modules: nn.ModuleDict, block: Tensor) -> tuple[Tensor, Tensor]:
        """Return what each token that is to be predicted costs in nats, and which token that is."""
        seen, wanted = block[:, :-1].clamp(min=0), block[:, 1:]
        scores = self.scores(modules, seen)
        costs = functional.cross_entropy(scores.transpose(1, 2), wanted, ignore_index=FILLER, reduction="none")
        return costs, wanted

    def evaluate(self, batch: Batch, ctx: EvaluationContext) -> dict[str, Tensor]:
        """Return nats, tokens and bytes of a row, and the unigram model's nats; `measures` makes ratios of them."""
        costs, wanted = self.loss(ctx.modules, batch["x"])
        there = wanted != FILLER
        sizes = torch.tensor([len(piece) for piece in self.pieces])
        known = wanted.clamp(min=0).cpu()
        unigram = _unigram_nats(self.assets[UNIGRAM])[known]
        rows = len(wanted)
        return {
            "nats": costs.double().sum() / rows,
            "tokens": there.double().sum() / rows,
            "bytes": (sizes[known] * there.cpu()).double().sum() / rows,
            "unigram_nats": (unigram * there.cpu()).sum() / rows,
        }

    def measures(self, means: Mapping[str, float]) -> dict[str, float]:
        """Return loss and perplexity of a token and bits of a byte, the unigram model's beside the model's."""
        if not means.get("tokens") or not means.get("bytes"):
            return {}
        loss, bits = means["nats"] / means["tokens"], math.log(2) * means["bytes"]
        return {
            "loss": loss,
            "perplexity": _exp(loss),
            "bits_per_byte": means["nats"] / bits,
            "unigram_perplexity": _exp(means["unigram_nats"] / means["tokens"]),
            "unigram_bits_per_byte": means["unigram_nats"] / bits,
        }

    def slots(self, modules: nn.ModuleDict, count: int) -> Slots:
        """Return so many slots in which texts grow."""
        return Slots(self.network(modules), count, self.config.context_length, self.pieces, self.end_token)

    def beginning(self, seed: int, wish: TextCondition) -> Beginning:
        """Return what a text of that seed and wish begins with."""
        tokens = (self.end_token, *bpe.tokens_of(bpe.read(self.tokenizer), wish.prompt).tolist())
        room = self.config.context_length - len(tokens)
        return Beginning(
            seed=seed,
            tokens=tokens,
            most=min(USUAL_LENGTH, room) if wish.max_new_tokens is None else wish.max_new_tokens,
            temperature=wish.temperature,
            top_k=wish.top_k,
            top_p=wish.top_p,
            stop=tuple(stop.encode() for stop in wish.stop),
            echo=wish.prompt.encode() if wish.echo else b"",
        )

    def sample(self, modules: nn.ModuleDict, seeds: Tensor, cond: Conditions) -> Tensor:
        """Return the texts' bytes, a row each, filled up with -1: row i is a function of seeds[i] and cond[i]."""
        slots = self.slots(modules, len(seeds))
        wishes: Sequence[TextCondition] = cond or [self.conditions()] * len(seeds)
        for slot, (seed, wish) in enumerate(zip(seeds.tolist(), wishes, strict=True)):
            slots.prefill(slot, self.beginning(seed, wish))
        while slots.busy:
            slots.decode_step()
        return utf8_rows([slots.text(slot) for slot in range(len(seeds))])

    def payloads(self, out: Tensor) -> list[Payload]:
        """Return each row's text as UTF-8."""
        return written(out)

    def encode(self, payload: Payload, form: str, origin: Mapping[str, Any]) -> File:
        """Return a text as a file of nothing but itself: what it was made of stands in the manifest."""
        if form != "txt":
            raise ValueError(f"The recipe {self.name} does not say how to write {form}.")
        return File(payload.tobytes(), MIME, "txt")


def adamw(network: nn.Module, learning_rate: float, weight_decay: float, beta2: float) -> torch.optim.Optimizer:
    """Return AdamW, which pulls matrices towards zero and norms not."""
    matrices = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, beta2), fused=True)


def _narrowed(recipe: LanguageRecipe[Any]) -> type[TextCondition]:
    context = recipe.config.context_length

    class Fitting(TextCondition):
        @model_validator(mode="after")
        def _has_room(self) -> Self:
            asked = len(bpe.tokens_of(bpe.read(recipe.tokenizer), self.prompt)) + 1
            if asked + (self.max_new_tokens or 1) > context:
                raise ValueError(
                    f"the prompt has {asked:,} tokens, its beginning among them, and {self.max_new_tokens or 1:,} more "
                    f"are asked for: the model sees {context:,} at once"
                )
            return self

    about = TextCondition.model_fields["max_new_tokens"].description
    length: Any = (int | None, Field(default=None, ge=1, le=context - 1, description=about))
    return create_model("TextCondition", __base__=Fitting, __doc__=TextCondition.__doc__, max_new_tokens=length)


def _exp(nats: float) -> float:
    return math.exp(min(nats, 700.0))
