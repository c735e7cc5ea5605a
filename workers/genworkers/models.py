"""A published model on disk: weights, config and card, named by a digest that covers the first two.

No pickle: safetensors and JSON, so that reading a model can run nothing. The digest is
recomputed whenever one is loaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn

from genplatform.domain import exported, layout, recipe_code
from genplatform.domain.recipe_code import RecipeCode
from genplatform.errors import BadRequest, NotFound
from genplatform.store import Store
from genworkers import adapters, own_recipes
from genworkers.adapters import Lora
from genworkers.compressing import weights as compressed
from genworkers.recipes import registry
from genworkers.recipes.base import FirstStage, Recipe
from genworkers.sampler import Sampler


def model_digest(
    recipe: str,
    config: Mapping[str, Any],
    weights: str | None,
    assets: Mapping[str, bytes] | None = None,
    code: RecipeCode | None = None,
    adapter: Mapping[str, Any] | None = None,
) -> str:
    """Return the digest of a model version.

    `weights` is the SHA-256 of its safetensors file, if it has one; `assets` are what it was prepared with; `code` is
    its recipe's, where that is not ours; `adapter` says of what model its weights are adapters, where they are.
    """
    return exported.model_digest(recipe, config, weights, asset_digests(assets or {}), code, adapter)


def asset_digests(assets: Mapping[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of each file that a recipe was prepared with."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in assets.items()}


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def part_served(recipe: Recipe[Any], modules: nn.ModuleDict) -> nn.ModuleDict:
    """Return the part of a recipe's networks that is published, as it is: some families train it itself."""
    return nn.ModuleDict({name: modules[name] for name in recipe.serve_modules})


def served(recipe: Recipe[Any], modules: nn.ModuleDict) -> nn.ModuleDict:
    """Return the part of a recipe's networks that is published, ready to draw from, and to train no more."""
    return part_served(recipe, modules).requires_grad_(False).eval()


def write_weights(recipe: Recipe[Any], modules: nn.ModuleDict, path: Path, *, is_adapter: bool = False) -> str | None:
    """Write what is published of the networks; return the file's SHA-256, or None when there is nothing to write.

    Of a version that is adapters (`is_adapter`) these alone are published: the base has the rest.
    """
    state = served_state(recipe, modules)
    published = adapters.kept(state) if is_adapter else state
    tensors = {name: t.detach().cpu().contiguous() for name, t in published.items()}
    if not tensors:
        return None
    save_file(tensors, path)
    return file_sha256(path)


def served_state(recipe: Recipe[Any], modules: nn.ModuleDict) -> dict[str, Any]:
    """Return the tensors of the published networks by name."""
    return {
        f"{name}.{key}": tensor for name in recipe.serve_modules for key, tensor in modules[name].state_dict().items()
    }


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to draw from, and what it says of itself."""

    name: str  # NAME@V
    digest: str
    recipe: str
    sampler: Sampler
    card: Mapping[str, Any]


def load(store: Store, model: Mapping[str, Any], scratch: Path) -> LoadedModel:
    """Fetch and build the model of an order; raises BadRequest when what lies in the store is not that model."""
    code = recipe_code.of_card(model.get("code"))
    recipe = _class_of(store, model, code).configured(model["config"])
    adapter = model.get("adapter")
    modules = nn.ModuleDict()
    weights, card = None, {}
    if recipe.serve_modules:
        path = scratch / layout.WEIGHTS
        weights = store.fetch(f"{model['key']}/{layout.WEIGHTS}", path).sha256
        card = json.loads(store.read_bytes(f"{model['key']}/{layout.CARD}"))
    recipe.assets = {name: store.read_bytes(f"{model['key']}/{name}") for name in recipe.asset_names}
    # Before a byte of it is used: these weights and this config are what the name stands for.
    digest = model_digest(model["recipe"], model["config"], weights, recipe.assets, code, adapter)
    if digest != model["digest"]:
        raise BadRequest(
            f"The model {_title(model)} in the store is not what was published: its digest is {digest[:12]}..., "
            f"and {model['digest'][:12]}... is recorded.",
            "Its files were changed or damaged: train or import it again.",
        )
    if adapter:
        # Its own networks: what it may say otherwise than its base, such as the context, may shape them.
        modules = part_served(recipe, recipe.build())
        modules.load_state_dict(_base_of(store, model, adapter, scratch).state_dict())
        adapters.merge(modules, load_file(path), Lora.of(adapter) or Lora())
        modules = served(recipe, modules)
    elif recipe.serve_modules:
        modules = served(recipe, recipe.build())
        modules.load_state_dict(compressed.read(path))
    return LoadedModel(_title(model), digest, model["recipe"], Sampler(recipe, modules, int(model["tile"])), card)


def _base_of(store: Store, model: Mapping[str, Any], adapter: Mapping[str, Any], scratch: Path) -> nn.ModuleDict:
    """Return the networks of the model whose adapters a version is; it may be such a version itself."""
    key = f"{model['key'].rpartition('/')[0]}/{adapter['base']}"
    try:
        card, config = (json.loads(store.read_bytes(f"{key}/{name}")) for name in (layout.CARD, layout.CONFIG))
        told = {name: card.get(name) for name in ("recipe", "tile", "code", "adapter")}
        place = scratch / "base"
        place.mkdir(exist_ok=True)
        about = {"name": f"base of {model['name']}", "version": model["version"], "digest": adapter["base"]}
        return load(store, told | about | {"key": key, "config": config}, place).sampler.modules
    except NotFound:
        raise BadRequest(
            f"The model {_title(model)} is adapters on the model with the digest {adapter['base'][:12]}, whose files "
            "are not in the store any more.",
            "Bring them back: its parent's name stands in `genctl models show`.",
        ) from None


def _class_of(store: Store, model: Mapping[str, Any], code: RecipeCode | None) -> type[Recipe[Any]]:
    if code is None:
        return registry.find(model["recipe"])

    def fetch(digest: str, to: Path) -> None:
        if store.fetch(f"{model['key']}/{layout.CODE}", to).sha256 != digest:
            raise BadRequest(
                f"The code of the model {_title(model)} in the store is not what was published.",
                "Its files were changed or damaged: train or import it again.",
            )

    return own_recipes.recipe_of(code, fetch)


def fetch_first_stage(store: Store, model: Mapping[str, Any] | None, scratch: Path) -> FirstStage | None:
    """Fetch the model that a run builds on or starts from, of its order; None for none. Raises as `load` does."""
    if model is None:
        return None
    loaded = load(store, model, scratch)
    learned_of = model.get("data_digest") or loaded.card.get("data_digest")
    return FirstStage(loaded.digest, loaded.sampler.recipe, loaded.sampler.modules, learned_of)


def _title(model: Mapping[str, Any]) -> str:
    return f"{model['name']}@{model['version']}"
