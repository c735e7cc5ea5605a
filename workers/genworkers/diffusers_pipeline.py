"""A published model of the recipe `diffusers` as a pipeline directory, which the library loads and draws with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from genplatform.domain import layout
from genplatform.errors import BadRequest, Conflict
from genworkers import models
from genworkers.compressing import weights as compressed
from genworkers.recipes import registry
from genworkers.recipes.from_diffusers import UNET, Diffusers, library


def to_pipeline(model_dir: Path, out_dir: Path) -> list[Path]:
    """Write the model of a version's folder (card, config, weights) as a new DDIMPipeline directory; return its files.

    Raises BadRequest for a model that DDIMPipeline cannot draw with (one by class, or a dit), for one of adapters, and
    for one whose files are not those that its card names.
    """
    card = json.loads((model_dir / layout.CARD).read_text(encoding="utf-8"))
    recipe: Any = registry.find(card["recipe"]).configured(card["config"])
    if not isinstance(recipe, Diffusers) or recipe.config.network != UNET or recipe.class_count:
        raise BadRequest(
            f"A model of the recipe {recipe.name} with this config is none that DDIMPipeline draws with: that takes a "
            "unet without classes.",
            "Train with params.network: unet and params.classes: [], or export it as it is.",
        )
    if card.get("adapter"):
        raise BadRequest(
            f"The files in {model_dir.name} are adapters: the weights that they are on lie with their base.",
            "Compress the version (`method: bf16`) and export what comes of it, which holds all of them.",
        )
    weights = model_dir / layout.WEIGHTS
    digest = models.model_digest(recipe.name, card["config"], models.file_sha256(weights))
    if digest != card["digest"]:
        raise BadRequest(
            f"The files in {model_dir.name} are not the model of its card: their digest is {digest[:12]}..., and "
            f"{card['digest'][:12]}... is recorded.",
            "They were changed or damaged: export it again.",
        )
    if out_dir.exists() and any(out_dir.iterdir()):
        raise Conflict(f"There is something in {out_dir} already.", "Name a new directory.")
    modules: nn.ModuleDict = models.served(recipe, recipe.build())
    modules.load_state_dict(compressed.read(weights))
    network: Any = modules["ema"]
    pipeline = library().DDIMPipeline(unet=network.net, scheduler=recipe.scheduler())
    pipeline.save_pretrained(out_dir, safe_serialization=True)
    return sorted(path for path in out_dir.rglob("*") if path.is_file())
