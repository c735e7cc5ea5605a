"""A published language model as a Hugging Face directory: what `transformers` loads and generates with unchanged.

`python -P -m genworkers.huggingface FOLDER OUT` is how `genctl models export --huggingface` writes one.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from genplatform.domain import layout
from genplatform.errors import BadRequest, Conflict, GenctlError
from genplatform.store import Store
from genworkers import models
from genworkers.recipes import bpe
from genworkers.recipes.language import TOKENIZER, LanguageRecipe


def to_huggingface(model_dir: Path, out_dir: Path) -> list[Path]:
    """Write the model of a version's folder (card, config, weights, tokenizer) as a new directory; return its files.

    Adapters are merged into their base, whose folder lies beside theirs under its digest. Raises BadRequest for a
    model that is of another kind, or whose files are not those that its card names.
    """
    model_dir = model_dir.absolute()
    card = json.loads((model_dir / layout.CARD).read_text(encoding="utf-8"))
    about = {"name": model_dir.name, "version": 0, "key": f"{model_dir.parent.name}/{model_dir.name}"}
    with tempfile.TemporaryDirectory(prefix="genctl-huggingface-") as scratch:
        loaded = models.load(Store(model_dir.parent.parent.as_uri()), card | about, Path(scratch))
    recipe = loaded.sampler.recipe
    if not isinstance(recipe, LanguageRecipe):
        raise BadRequest(
            f"A model of the recipe {recipe.name} is no language model, and has no Hugging Face directory.",
            "Export it as it is.",
        )
    if out_dir.exists() and any(out_dir.iterdir()):
        raise Conflict(f"There is something in {out_dir} already.", "Name a new directory.")
    config, tensors = recipe.huggingface(models.served_state(recipe, loaded.sampler.modules))
    out_dir.mkdir(parents=True, exist_ok=True)
    save_file({k: t.contiguous() for k, t in tensors.items()}, out_dir / layout.WEIGHTS, metadata={"format": "pt"})
    (out_dir / TOKENIZER).write_bytes(recipe.tokenizer)
    texts = {
        "config.json": config,
        "tokenizer_config.json": _tokenizer_config(recipe),
        "generation_config.json": _generation_config(recipe.end_token),
    }
    for name, told in texts.items():
        (out_dir / name).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    return sorted(out_dir.iterdir())


def _tokenizer_config(recipe: LanguageRecipe[Any]) -> dict[str, Any]:
    end = bpe.read(recipe.tokenizer).id_to_token(recipe.end_token)
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": end,
        "eos_token": end,
        "pad_token": end,
        "model_max_length": recipe.config.context_length,
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": True,  # what a text says is never the token that ends
    }


def _generation_config(end: int) -> dict[str, Any]:
    return {
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "do_sample": True,
        "temperature": 1.0,
        "top_k": 0,
    }


def main(arguments: list[str]) -> int:
    """Write the model in a folder as a directory; on the error stream one line of JSON says why it could not be."""
    try:
        to_huggingface(Path(arguments[0]), Path(arguments[1]))
    except (GenctlError, ImportError) as error:
        told = {"message": str(getattr(error, "message", error)), "hint": str(getattr(error, "hint", ""))}
        sys.stderr.write(json.dumps(told) + "\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
