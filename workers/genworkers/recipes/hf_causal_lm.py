"""Any causal language model of `transformers` (Wolf et al., 2020): built from a config, or taken from a directory.

It is learned from, measured and drawn from as `gpt` is: rows of tokens, bits of a byte, texts that grow in slots with
a number of their own at each position. Only the layers, and the tokens of a directory, are the library's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from genworkers.recipes import bpe
from genworkers.recipes.base import TUNABLE, Recipe
from genworkers.recipes.hf_network import NO_ARCHITECTURE, HfNetwork, class_of, config_of
from genworkers.recipes.language import TOKENIZER, LanguageConfig, LanguageRecipe, adamw

SMALL = {
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 352,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "tie_word_embeddings": True,
}
LONGEST_CONTEXT = "max_position_embeddings"


class HfConfig(LanguageConfig):
    """Where the model comes from, and the optimizer. The defaults train 300 steps in two minutes on one core."""

    architecture: dict[str, Any] = Field(
        default=SMALL,
        description="A config of transformers, its `model_type` among it, of the model that is built and trained from "
        "scratch. Taken from the directory where one is named.",
    )
    pretrained: str | None = Field(
        default=None,
        min_length=1,
        max_length=4000,
        description="What training starts from: a directory of transformers by its path, or hf://OWNER/NAME@COMMIT.",
    )
    end_token: int = Field(
        default=bpe.END_TOKEN, ge=0, description="The token that ends a text. Taken from the directory."
    )
    learning_rate: float = Field(default=2e-3, gt=0, le=1, description="AdamW's step size.")
    weight_decay: float = Field(default=0.1, ge=0, le=1, description="AdamW's pull of the matrices towards zero.")
    beta2: float = Field(default=0.95, ge=0, lt=1, description="AdamW's memory of squared gradients.")
    batch_size: int = Field(default=16, ge=1, le=65536, description="Rows of one training step.")

    @field_validator("architecture")
    @classmethod
    def _names_its_type(cls, given: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(given.get("model_type"), str):
            raise ValueError("it has no model_type, such as llama or gpt2")
        return given

    @model_validator(mode="after")
    def _has_room(self) -> HfConfig:
        most = self.architecture.get(LONGEST_CONTEXT) or self.architecture.get("n_positions")
        if isinstance(most, int) and self.context_length > most:
            raise ValueError(f"context_length is {self.context_length}, and the architecture has {most} positions")
        return self


class HfCausalLm(LanguageRecipe[HfConfig]):
    """A model of the library, with its own tokens or the directory's."""

    name = "hf-causal-lm"
    summary = "Any causal language model of transformers: from a config, or going on from a directory or hf:// name."
    Config = HfConfig
    serve_modules = ("net",)
    pretrained_param = "pretrained"
    tunable = (*TUNABLE, "context_length")

    @classmethod
    def of_files(
        cls, params: Mapping[str, Any], files: Mapping[str, bytes], tensors: dict[str, Tensor]
    ) -> tuple[Recipe[Any], nn.ModuleDict]:
        """Return the recipe and networks of a directory; raises ValueError for one that is none of its kind."""
        missing = [name for name in ("config.json", TOKENIZER) if name not in files]
        if missing:
            raise ValueError(f"The directory has no {' and no '.join(missing)}.")
        told = json.loads(files["config.json"])
        architecture = {name: value for name, value in told.items() if name not in NO_ARCHITECTURE}
        pieces = bpe.pieces(files[TOKENIZER])
        end = _end_of(files, told, len(pieces))
        recipe = cls(cls.Config.model_validate({**params, "architecture": architecture, "end_token": end}))
        recipe.assets = {TOKENIZER: files[TOKENIZER]}
        return recipe, nn.ModuleDict({"net": HfNetwork.of_weights(recipe.architecture, recipe.vocabulary, tensors)})

    @property
    def end_token(self) -> int:
        """The token that ends a text."""
        return self.config.end_token

    @property
    def architecture(self) -> dict[str, Any]:
        """The library's config, with as many tokens as there are, where it does not say so itself."""
        told = dict(self.config.architecture)
        if not {LONGEST_CONTEXT, "n_positions"} & told.keys():
            told[LONGEST_CONTEXT] = self.config.context_length
        return {"vocab_size": len(self.pieces)} | told

    @property
    def vocabulary(self) -> int:
        """The tokens that may be said: some models have room for more than there are. Raises ValueError for less."""
        room, count = int(self.architecture["vocab_size"]), len(self.pieces)
        if room < count:
            raise ValueError(f"The architecture has a vocab_size of {room:,}, and there are {count:,} tokens.")
        return count

    def build(self) -> nn.ModuleDict:
        """Return the network, its weights fresh."""
        return nn.ModuleDict({"net": HfNetwork.built(self.architecture, self.vocabulary)})

    def optimizers(self, modules: nn.ModuleDict) -> dict[str, torch.optim.Optimizer]:
        """Return one AdamW, which pulls matrices towards zero and norms not."""
        c = self.config
        return {"net": adamw(modules["net"], c.learning_rate, c.weight_decay, c.beta2)}

    def huggingface(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return `config.json` and the tensors of this very model."""
        config = config_of(self.architecture)
        told = config.to_dict() | {"architectures": [class_of(config).__name__]}
        ends = {f"{name}_token_id": self.end_token for name in ("bos", "eos", "pad")}
        tensors = {name.removeprefix("net.model."): tensor for name, tensor in state.items()}
        return told | ends | {"dtype": "float32"}, tensors


def _end_of(files: Mapping[str, bytes], config: Mapping[str, Any], count: int) -> int:
    """Return the token that ends a text, as the directory says it; raises ValueError where it does not."""
    for told in (json.loads(files.get("generation_config.json", b"{}")), config):
        end = told.get("eos_token_id")
        end = end[0] if isinstance(end, list) and end else end
        if isinstance(end, int) and 0 <= end < count:
            return end
    raise ValueError("The directory does not say which token ends a text: `eos_token_id` in config.json.")
