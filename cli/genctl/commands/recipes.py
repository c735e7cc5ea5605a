"""recipes ls, show: the model families that jobs may name."""

from __future__ import annotations

import json
from typing import Any

import click

from genctl import session


@click.group(short_help="Model families that jobs may name.")
def recipes() -> None:
    """Model families that jobs may name."""


@recipes.command("ls")
@session.json_option
def list_(as_json: bool) -> None:
    """List the recipes."""
    from genctl import output

    with session.client() as client:
        found = client.recipes()
    if as_json:
        output.emit_json({"recipes": found})
        return
    columns = [output.Column("NAME"), output.Column("MODALITY"), output.Column("SUMMARY", flexible=True)]
    output.table(columns, [(r.get("name"), r.get("modality"), r.get("summary")) for r in found])


@recipes.command()
@click.argument("name")
@session.json_option
def show(name: str, as_json: bool) -> None:
    """Show a recipe and the parameters it takes."""
    from genctl import output

    with session.client() as client:
        recipe = client.recipe(name)
    if as_json:
        output.emit_json(recipe)
        return
    output.pairs([("name", recipe.get("name")), ("modality", recipe.get("modality")), ("does", recipe.get("summary"))])
    config = recipe.get("config")
    fields = config.get("properties") if isinstance(config, dict) else None
    if not isinstance(fields, dict) or not fields:
        output.say("\nIt takes no params.")
        return
    output.say("\nparams:")
    columns = [
        output.Column("FIELD"),
        output.Column("TYPE"),
        output.Column("DEFAULT"),
        output.Column("MEANING", keep=8, flexible=True),
    ]
    output.table(columns, [(name, _type(field), _default(field), _meaning(field)) for name, field in fields.items()])


def _type(field: Any) -> str:
    if not isinstance(field, dict):
        return "any"
    if "enum" in field:
        return "|".join(str(value) for value in field["enum"])
    if "anyOf" in field and "type" not in field:
        # A field that may be left out is "this or null"; null is what its default says.
        kinds = [_type(choice) for choice in field["anyOf"] if choice != {"type": "null"}]
        return "|".join(kinds) or "any"
    kind = field.get("type", "any")
    kind = "|".join(kind) if isinstance(kind, list) else str(kind)
    low, high = field.get("minimum", field.get("exclusiveMinimum")), field.get("maximum", field.get("exclusiveMaximum"))
    bounds = f"{'' if low is None else low}..{'' if high is None else high}"
    return kind if bounds == ".." else f"{kind} {bounds}"


def _default(field: Any) -> str:
    return json.dumps(field["default"]) if isinstance(field, dict) and "default" in field else "-"


def _meaning(field: Any) -> str:
    return str(field.get("description") or field.get("title") or "") if isinstance(field, dict) else ""
