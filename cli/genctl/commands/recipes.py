"""recipes ls, show, check: the model families that jobs may name, and whether one of your own is fit to be one."""

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
    """Show a recipe: the params it takes, and the conditions, with their defaults and meanings."""
    from genctl import output

    with session.client() as client:
        recipe = client.recipe(name)
    if as_json:
        output.emit_json(recipe)
        return
    said = {
        "name": recipe.get("name"),
        "modality": recipe.get("modality"),
        "does": recipe.get("summary"),
        "first_stage": f"a model of {recipe['first_stage']}" if recipe.get("first_stage") else None,
        "worker dependent": recipe.get("worker_dependent"),
        "may differ from a base": ", ".join(recipe.get("tunable") or ()),
        "no adapters": recipe.get("no_adapters"),
        "no privacy": recipe.get("privacy_obstacle"),
    }
    output.pairs([(name, value) for name, value in said.items() if value])
    _fields("params", recipe.get("config"), "It takes no params.")
    _fields("cond (of a generate job)", recipe.get("cond"), "It takes no conditions.")


@recipes.command()
@click.argument("target", metavar="FILE[:CLASS]|MODULE:CLASS|NAME")
@click.option("--params", metavar="JSON", default="{}", help="Parameters to check it with, such as '{\"width\": 8}'.")
@session.json_option
def check(target: str, params: str, as_json: bool) -> int:
    """Check that a recipe keeps what the engine expects: resume, tiles, seeds, validation, files.

    Runs here, on built-in data, in a process of its own; takes seconds. The recipe is code, and runs as you.
    """
    from genctl import output

    if not isinstance(_json(params), dict):
        raise click.BadParameter(f"{params!r} is not a JSON object.", param_hint="--params")
    results = _checked(target, params, quiet=as_json)
    failed = [result for result in results if not result.get("ok")]
    if as_json:
        output.emit_json({"target": target, "ok": bool(results) and not failed, "checks": results})
    elif not failed and results:
        output.say(f"All {len(results)} checks hold.")
    return 1 if failed or not results else 0


def _checked(target: str, params: str, *, quiet: bool) -> list[dict[str, Any]]:
    """Return each check's result, shown as it ends."""
    import subprocess
    import sys

    from genctl import output, text

    # -P: a file of the folder that one stands in must not be taken for a module of the same name.
    command = [sys.executable, "-P", "-m", "genworkers.conformance", target, params]
    results = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None  # noqa: S101 - it was asked for
        for line in child.stdout:
            found = _json(line)
            if not isinstance(found, dict) or "check" not in found:
                continue  # what the recipe itself prints
            results.append(found)
            if not quiet:
                mark = "ok    " if found.get("ok") else "FAILED"
                output.say(f"{mark}  {text.clean(found['check']):<11} {text.clean(found.get('message'))}")
                sys.stdout.flush()
    if child.returncode not in (0, 1) or not results:
        ended = f"The check's process ended with {child.returncode}."
        results.append({"check": "process", "ok": False, "message": ended})
        if not quiet:
            output.say(f"FAILED  process     {ended}")
    return results


def _json(given: str) -> Any:
    try:
        return json.loads(given)
    except ValueError:
        return None


def _fields(title: str, schema: Any, none: str) -> None:
    from genctl import output

    fields = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(fields, dict) or not fields:
        output.say(f"\n{none}")
        return
    output.say(f"\n{title}:")
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
