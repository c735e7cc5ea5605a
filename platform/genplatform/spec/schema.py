"""The JSON Schema of one document of a job file, for editors: `genctl schema`.

It says what the loader says, as far as JSON Schema can: one alternative a kind, with the
parameters of each recipe. The loader remains the judge.
"""

from __future__ import annotations

from typing import Any

from genplatform.domain.recipe_code import CLASS_PATTERN
from genplatform.spec.kinds import KINDS
from genplatform.spec.recipes import RecipeBook

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def job_file_schema(recipes: RecipeBook) -> dict[str, Any]:
    """Return the schema, complete in itself."""
    definitions: dict[str, Any] = {}
    for kind, document in KINDS.items():
        schema = document.model_json_schema()
        definitions.update(schema.pop("$defs", {}))
        schema["required"] = sorted({"kind", *schema.get("required", ())})
        for field in ("name", "publish"):  # an empty default stands for one that the loader makes
            schema["properties"].get(field, {}).pop("default", None)
        definitions[kind] = schema
    _put_recipes(definitions["train"], definitions, recipes)
    return {
        "$schema": DIALECT,
        "title": "A genctl job",
        "description": "One document of a job file. A file may hold several, with `---` between them.",
        "type": "object",
        "properties": {"kind": {"enum": list(KINDS)}},
        "oneOf": [{"$ref": f"#/$defs/{kind}"} for kind in KINDS],
        "$defs": definitions,
    }


def _put_recipes(train: dict[str, Any], definitions: dict[str, Any], recipes: RecipeBook) -> None:
    """Tie `params` to the recipe that is named."""
    names = [name for name in recipes.names() if recipes.get(name).get("trainable", True)]
    # Or code: as `genctl submit` is given it, or as it was sent.
    train["properties"]["recipe"]["anyOf"] = [{"enum": names}, {"pattern": f":{CLASS_PATTERN}$"}]
    train["allOf"] = []
    for name in names:
        config = recipes.get(name).get("config") or {}
        for inner, schema in config.pop("$defs", {}).items():
            definitions[f"{name}.{inner}"] = _renamed(schema, name)
        definitions[f"{name}.params"] = _renamed(config, name)
        train["allOf"].append(
            {
                "if": {"properties": {"recipe": {"const": name}}, "required": ["recipe"]},
                "then": {"properties": {"params": {"$ref": f"#/$defs/{name}.params"}}},
            }
        )


def _renamed(schema: Any, recipe: str) -> Any:
    """Return `schema` with its references to its own definitions led to where they stand now."""
    if isinstance(schema, list):
        return [_renamed(part, recipe) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: part.replace("#/$defs/", f"#/$defs/{recipe}.", 1)
        if key == "$ref" and isinstance(part, str)
        else _renamed(part, recipe)
        for key, part in schema.items()
    }
