"""A published language model as a Hugging Face directory: what `transformers` loads and generates with unchanged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from genplatform.domain import layout
from genplatform.errors import BadRequest, Conflict
from genworkers import models
from genworkers.recipes import registry
from genworkers.recipes.bpe import END, END_TOKEN
from genworkers.recipes.language import TOKENIZER, LanguageRecipe


def to_huggingface(model_dir: Path, out_dir: Path) -> list[Path]:
    """Write the model of a version's folder (card, config, weights, tokenizer) as a new directory; return its files.

    Raises BadRequest for a model that is of another kind, or whose files are not those that its card names.
    """
    card = json.loads((model_dir / layout.CARD).read_text(encoding="utf-8"))
    recipe = registry.find(card["recipe"]).configured(card["config"])
    if not isinstance(recipe, LanguageRecipe):
        raise BadRequest(
            f"A model of the recipe {recipe.name} is no language model, and has no Hugging Face directory.",
            "Export it as it is.",
        )
    recipe.assets = {name: (model_dir / name).read_bytes() for name in recipe.asset_names}
    weights = model_dir / layout.WEIGHTS
    digest = models.model_digest(recipe.name, card["config"], models.file_sha256(weights), recipe.assets)
    if digest != card["digest"]:
        raise BadRequest(
            f"The files in {model_dir.name} are not the model of its card: their digest is {digest[:12]}..., and "
            f"{card['digest'][:12]}... is recorded.",
            "They were changed or damaged: export it again.",
        )
    if out_dir.exists() and any(out_dir.iterdir()):
        raise Conflict(f"There is something in {out_dir} already.", "Name a new directory.")
    config, tensors = recipe.huggingface(load_file(weights))
    out_dir.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out_dir / "model.safetensors", metadata={"format": "pt"})
    (out_dir / TOKENIZER).write_bytes(recipe.tokenizer)
    texts = {
        "config.json": config,
        "tokenizer_config.json": _tokenizer_config(recipe.config.context_length),
        "generation_config.json": _generation_config(),
    }
    for name, told in texts.items():
        (out_dir / name).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    return sorted(out_dir.iterdir())


def _tokenizer_config(context: int) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END,
        "eos_token": END,
        "pad_token": END,
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": True,  # what a text says is never the token that ends
    }


def _generation_config() -> dict[str, Any]:
    return {
        "bos_token_id": END_TOKEN,
        "eos_token_id": END_TOKEN,
        "pad_token_id": END_TOKEN,
        "do_sample": True,
        "temperature": 1.0,
        "top_k": 0,
    }
