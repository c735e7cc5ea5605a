"""From a trained state to what is published: weights, config and card under the model's digest."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import torch

from genplatform.domain import layout, recipe_code
from genplatform.errors import Conflict, NotFound
from genplatform.store import Store, Stored
from genworkers import adapters, models
from genworkers.context import patiently
from genworkers.data.fetching import uploads_of
from genworkers.training.loop import Trained
from genworkers.version import code_version

log = logging.getLogger(__name__)


def publish_model(
    store: Store, tenant: str, order: Mapping[str, Any], trained: Trained, scratch: Path
) -> dict[str, Any]:
    """Store the model and return what /publish is told of it (without the run's own ids)."""
    folder = scratch / "model"
    folder.mkdir()
    recipe, state = trained.recipe, trained.state
    adapter = trained.start.adapter()
    trained.start.refuse_moved(recipe, state.modules)
    if trained.start.lora is not None and adapter is None:
        adapters.unload(state.modules)  # on what nobody here has: the version holds all of it
    config = recipe.config.model_dump(mode="json")
    weights = models.write_weights(recipe, state.modules, folder / layout.WEIGHTS, is_adapter=adapter is not None)
    for name, data in recipe.assets.items():
        (folder / name).write_bytes(data)
    code = recipe_code.parse(order["recipe"])
    if code is not None:
        # Beside its weights: a model is drawn from for longer than what was sent ahead need be kept.
        uploads_of(order["store_url"], tenant)(code.digest, folder / layout.CODE)
    digest = models.model_digest(recipe.name, config, weights, recipe.assets, code, adapter)
    card = _card(order, trained, config, weights, digest) | ({"code": code.as_json()} if code else {})
    card |= {"adapter": adapter} if adapter else {}
    for name, told in ((layout.CONFIG, config), (layout.CARD, card)):
        (folder / name).write_text(json.dumps(told, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    key = layout.model(tenant, digest)
    stored = patiently(lambda: put_model(store, folder, key))
    return {
        "model": {
            "recipe": recipe.name,
            "modality": recipe.modality,
            "config": config,
            "tile": recipe.tile,
            "key": key,
            "digest": digest,
            "size": sum(s.size for s in stored),
            "data_digest": trained.dataset.digest,
            "metrics": trained.metrics,
            "card": card,
        },
    }


def _card(
    order: Mapping[str, Any], trained: Trained, config: Mapping[str, Any], weights: str | None, digest: str
) -> dict[str, Any]:
    """Return what a person or a program should know of the model; nothing that names a job or a time."""
    recipe, state = trained.recipe, trained.state
    served = models.served_state(recipe, state.modules)
    published = adapters.kept(served) if trained.start.adapter() is not None else served
    return {
        "recipe": recipe.name,
        "config": dict(config),
        "modality": recipe.modality,
        "tile": recipe.tile,
        "formats": list(recipe.formats),
        "cond": recipe.conditions.model_json_schema(by_alias=True) if recipe.conditions else None,
        "digest": digest,
        "first_stage": _named(order.get("first_stage")),
        "base": _named(order.get("base")),
        "data": dict(order["data"]),
        "data_digest": trained.dataset.digest,
        **({"data_revision": trained.dataset.revision} if trained.dataset.revision else {}),
        "split": trained.split,
        "seed": int(order["seed"]),
        "steps": state.step,
        "metrics": trained.metrics,
        **({"privacy": dict(trained.privacy)} if trained.privacy else {}),
        "parameters": sum(t.numel() for t in published.values()),
        "weights": {"file": layout.WEIGHTS, "sha256": weights} if weights else None,
        "assets": models.asset_digests(recipe.assets),
        "code_version": code_version(),
        "versions": {"torch": torch.__version__, "numpy": numpy.__version__},
    }


def _named(model: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what a card says of the version that its model was built on."""
    return None if model is None else {"model": f"{model['name']}@{model['version']}", "digest": model["digest"]}


def put_model(store: Store, folder: Path, key: str) -> list[Stored]:
    """Put the model's folder under its digest; one that stands there already and is whole is kept.

    It may differ in its card alone (made by another version of the code): the card of this
    version is in the catalog.
    """
    try:
        return store.put_tree(folder, key)
    except Conflict:
        standing = _standing(store, folder, key)
        if standing is not None:
            return standing
        log.warning("damaged_model_replaced: %s", key)
        store.remove(key)
        return store.put_tree(folder, key)


def _standing(store: Store, folder: Path, key: str) -> list[Stored] | None:
    """Return what stands under `key` when its weights and config are ours, else None."""
    check = folder.parent / "standing"
    found = []
    try:
        for path in sorted(folder.iterdir()):
            stored = store.fetch(f"{key}/{path.name}", check / path.name)
            if path.name != layout.CARD and stored.sha256 != models.file_sha256(path):
                return None
            found.append(Stored(f"{key}/{path.name}", stored.sha256, stored.size))
    except NotFound:
        return None
    return found
