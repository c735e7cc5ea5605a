"""Write what the platform may know of our recipes without importing torch: `python -m genworkers.recipes.describe`.

The file, `builtin.json`, is part of the package; a test holds it in step with the recipes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from genworkers.recipes import registry

BUILTIN = Path(__file__).with_name("builtin.json")


def describe(name: str) -> dict[str, Any]:
    """Return what stands in `builtin.json` of one recipe."""
    recipe = registry.find(name)
    return {
        "name": recipe.name,
        "modality": recipe.modality,
        "summary": recipe.summary,
        "trainable": recipe.trainable,
        "config": recipe.Config.model_json_schema(),
        "cond": recipe.cond_schema.model_json_schema(by_alias=True) if recipe.cond_schema else None,
        "formats": list(recipe.formats),
        "tile": recipe.tile,
        "first_stage": recipe.first_stage,
        "whole_batches": recipe.whole_batches or None,
        "worker_dependent": recipe.worker_dependent or None,
        "tunable": sorted(set(recipe.tunable) & set(recipe.Config.model_fields)),
        "no_adapters": recipe.no_adapters or None,
        "privacy_obstacle": recipe.privacy_obstacle or None,
    }


def builtin() -> str:
    """Return the file's text: the recipes that this package brings, by name."""
    return (
        json.dumps({"recipes": [describe(name) for name in sorted(registry.BUILTIN)]}, indent=1, sort_keys=True) + "\n"
    )


if __name__ == "__main__":
    BUILTIN.write_text(builtin(), encoding="utf-8")
