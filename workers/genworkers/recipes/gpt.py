"""A decoder-only language model (GPT; Radford et al., 2019) in the layout of Llama (Touvron et al., 2023).

The defaults train on one CPU core in minutes. On a GPU, 124 million parameters are: layers 12,
width 768, heads 12, context_length 1024, vocabulary 32768, batch_size 64, learning_rate 6e-4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from genworkers.recipes import bpe
from genworkers.recipes.language import LanguageConfig, LanguageRecipe, adamw
from genworkers.recipes.llama import NORM_EPSILON, ROTARY_BASE, Llama, LlamaShape


class GptConfig(LanguageConfig):
    """Sizes of the network, optimizer and batch. The defaults train 300 steps in two minutes on one core."""

    layers: int = Field(default=4, ge=1, le=256, description="Blocks of attention and feed-forward.")
    width: int = Field(default=128, ge=2, le=1 << 15, description="Numbers that a token is made of.")
    heads: int = Field(default=2, ge=1, le=256, description="Heads of attention; they divide the width evenly.")
    kv_heads: int | None = Field(
        default=None, ge=1, le=256, description="Heads of keys and values, which groups of heads share; left out: all."
    )
    hidden: int | None = Field(
        default=None, ge=1, le=1 << 17, description="Width of the feed-forward part; left out: 8/3 of the width."
    )
    learning_rate: float = Field(default=2e-3, gt=0, le=1, description="AdamW's step size.")
    weight_decay: float = Field(default=0.1, ge=0, le=1, description="AdamW's pull of the matrices towards zero.")
    beta2: float = Field(default=0.95, ge=0, lt=1, description="AdamW's memory of squared gradients.")
    batch_size: int = Field(default=16, ge=1, le=65536, description="Rows of one training step.")

    @model_validator(mode="after")
    def _divides(self) -> GptConfig:
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} is not an even number for each of {self.heads} heads")
        if self.heads % (self.kv_heads or self.heads):
            raise ValueError(f"{self.heads} heads do not share {self.kv_heads} kv_heads evenly")
        return self


class Gpt(LanguageRecipe[GptConfig]):
    """A small Llama, trained from scratch on tokens that are learned from the same data."""

    name = "gpt"
    summary = "Language model (Llama layout) with its own tokenizer: learns from text, writes text."
    Config = GptConfig
    serve_modules = ("net",)

    @property
    def shape(self) -> LlamaShape:
        """The sizes of the network."""
        c = self.config
        hidden = c.hidden or -(-8 * c.width // 3 // 32) * 32
        return LlamaShape(len(self.pieces), c.width, c.layers, c.heads, c.kv_heads or c.heads, hidden)

    def build(self) -> nn.ModuleDict:
        """Return the network."""
        return nn.ModuleDict({"net": Llama(self.shape)})

    def optimizers(self, modules: nn.ModuleDict) -> dict[str, torch.optim.Optimizer]:
        """Return one AdamW, which pulls matrices towards zero and norms not."""
        c = self.config
        return {"net": adamw(modules["net"], c.learning_rate, c.weight_decay, c.beta2)}

    def huggingface(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return `config.json` and the tensors of a `LlamaForCausalLM` that is this network."""
        s = self.shape
        config = {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": s.vocabulary,
            "hidden_size": s.width,
            "intermediate_size": s.hidden,
            "num_hidden_layers": s.layers,
            "num_attention_heads": s.heads,
            "num_key_value_heads": s.kv_heads,
            "head_dim": s.head_dim,
            "max_position_embeddings": self.config.context_length,
            "hidden_act": "silu",
            "rms_norm_eps": NORM_EPSILON,
            "rope_theta": ROTARY_BASE,
            "rope_parameters": {"rope_type": "default", "rope_theta": ROTARY_BASE},
            "attention_bias": False,
            "mlp_bias": False,
            "tie_word_embeddings": True,
            "bos_token_id": bpe.END_TOKEN,
            "eos_token_id": bpe.END_TOKEN,
            "pad_token_id": bpe.END_TOKEN,
            "dtype": "float32",
            "torch_dtype": "float32",
        }
        return config, {name.removeprefix("net."): tensor for name, tensor in state.items()}
