"""A compressed version as it is published: its folder, and a card that says what it costs and gains."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy
import torch

from genplatform.domain import layout, recipe_code
from genplatform.errors import BadRequest
from genplatform.store import Store
from genworkers import models
from genworkers.compressing import weights
from genworkers.compressing.speed import paired
from genworkers.judging.report import Asked, Beside, Watch
from genworkers.judging.subjects import judge_if_possible, subject_of
from genworkers.models import LoadedModel
from genworkers.sampler import Sampler
from genworkers.version import code_version

PARENT = "parent"
COMPUTED_IN = "fp32"
MOST_NAMES = 50
# What a parent's card says of itself alone, and not of what is made of it.
_ITS_OWN = ("origin", "metrics", "adapter")


@dataclass(frozen=True)
class Made:
    """A compressed model in a folder: weights, assets and code; and ready to draw from."""

    folder: Path
    sampler: Sampler
    sha256: str
    digest: str
    about: Mapping[str, Any]  # method, sizes and what was left as it is


def make(store: Store, order: Mapping[str, Any], parent: LoadedModel, fetched: Path, folder: Path) -> Made:
    """Write the compressed model into `folder`. `fetched` holds the parent's weights.

    Raises BadRequest for a model that is compressed already, and for one that there is nothing to compress of.
    """
    method, recipe = str(order["method"]), parent.sampler.recipe
    already = parent.card.get("compression")
    if already:
        raise BadRequest(
            f"The model {parent.name} is compressed already ({already.get('method')}).",
            f"Compress what it was made of: {(parent.card.get('parent') or {}).get('model')}.",
        )
    packed = weights.compress(parent.sampler.modules, method)
    path = folder / layout.WEIGHTS
    weights.write(packed.tensors, method, path)
    for name, data in recipe.assets.items():
        (folder / name).write_bytes(data)
    code = recipe_code.of_card(parent.card.get("code"))
    if code is not None:
        store.fetch(f"{order['model']['key']}/{layout.CODE}", folder / layout.CODE)
    # Drawn from as whoever loads it will: what was written, read back.
    modules = models.served(recipe, recipe.build())
    modules.load_state_dict(weights.read(path))
    sampler = Sampler(recipe, modules, parent.sampler.tile)
    sha256 = models.file_sha256(path)
    digest = models.model_digest(parent.recipe, order["model"]["config"], sha256, recipe.assets, code)
    # Of adapters, with the base that they are on.
    size, before = path.stat().st_size, sum(one.stat().st_size for one in fetched.rglob(layout.WEIGHTS))
    left = [packed.tensors[name] for name in packed.left]
    about = {
        "method": method,
        "computed_in": COMPUTED_IN,
        "size": {"unit": "bytes of weights", "value": size, "parent": before, "ratio": size / before},
        "left_as_is": {
            "tensors": len(left),
            "bytes": sum(one.nbytes for one in left),
            "names": list(packed.left[:MOST_NAMES]),
        },
    }
    return Made(folder, sampler, sha256, digest, about)


def measured(
    order: Mapping[str, Any], parent: LoadedModel, made: Made, watch: Watch, say: Callable[[str], None]
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Return the paired speed of both models, and the judgement of the new one with the parent's as an anchor.

    A model that draws nothing without being told what has no speed, one that cannot be judged no judgement, and the
    reason is said. Raises judging.report.Stopped.
    """
    total = int(order["samples"])
    speed: dict[str, Any] | None = None
    try:
        speed = paired(parent.sampler, made.sampler, time.perf_counter, lambda: watch.at(0, total))
    except BadRequest as error:
        say(f"Its speed was not measured: {error.message}")
    else:
        say(
            f"It draws {speed['ratio']:.2f} times as fast as {parent.name} ({speed['low']:.2f} to {speed['high']:.2f}, "
            f"the quartiles of {speed['pairs']} pairs): {speed['value']:.1f} beside {speed['parent']:.1f} "
            f"{speed['unit']}."
        )

    def subject() -> Any:
        beside = {PARENT: Beside(parent.sampler, f"{parent.name}, which it was made of")}
        # What the parent's training found of the parent is not known of it.
        return replace(subject_of(parent, order, say), sampler=made.sampler, known={}, beside=beside)

    asked = Asked(total, int(order["seed"]), tuple(order["metrics"]))
    return speed, judge_if_possible(subject, asked, watch, say)


def told(
    order: Mapping[str, Any],
    parent: LoadedModel,
    made: Made,
    speed: Mapping[str, Any] | None,
    found: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Write card and config beside the weights; return what /publish is told of the model, but for its size."""
    model, recipe, config = order["model"], parent.sampler.recipe, order["model"]["config"]
    numbers = {"size_ratio": made.about["size"]["ratio"]} | ({"speed_ratio": speed["ratio"]} if speed else {})
    served = models.served_state(recipe, made.sampler.modules)
    card = {
        **{key: value for key, value in parent.card.items() if key not in _ITS_OWN},
        "digest": made.digest,
        "parameters": sum(tensor.numel() for tensor in served.values()),  # of adapters, with the base that they are on
        "weights": {"file": layout.WEIGHTS, "sha256": made.sha256},
        "parent": {"model": parent.name, "digest": parent.digest},
        "compression": {**made.about, "speed": dict(speed) if speed else None, "quality": _quality(found)},
        "metrics": numbers,
        "code_version": code_version(),
        "versions": {"torch": torch.__version__, "numpy": numpy.__version__},
    }
    for name, text in ((layout.CONFIG, config), (layout.CARD, card)):
        (made.folder / name).write_text(json.dumps(text, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return {
        "recipe": parent.recipe,
        "modality": recipe.modality,
        "config": config,
        "tile": parent.sampler.tile,
        "key": layout.model(order["tenant"], made.digest),
        "digest": made.digest,
        "data_digest": model.get("data_digest"),
        "metrics": numbers,
        "card": card,
        "evaluation": found,
    }


def _quality(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return each metric of the judgement beside the parent's, and what they were taken with."""
    if found is None:
        return None
    space = found["feature_space"]
    return {
        "metrics": {
            name: {"value": one["value"], "parent": one["anchors"].get(PARENT), "better": one["better"]}
            for name, one in found["metrics"].items()
        },
        "samples": found["samples"],
        "seed": found["seed"],
        "feature_space": space["digest"] if space else None,
    }
