"""models ls, show, compare, compress, export, import: published versions, side by side, smaller, leaving and coming."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from genctl import session


@click.group(short_help="Published model versions.")
def models() -> None:
    """Published model versions."""


@models.command("ls")
@session.json_option
def list_(as_json: bool) -> None:
    """List the model versions."""
    from genctl import output, text

    with session.client() as client:
        found = client.models()
    if as_json:
        output.emit_json({"models": found})
        return
    now = time.time()
    columns = [
        output.Column("MODEL"),
        output.Column("RECIPE", keep=6),
        output.Column("MODALITY", keep=4),
        output.Column("JOB", keep=7),
        output.Column("DIGEST", keep=3),
        output.Column("METRICS", keep=2, flexible=True),
        output.Column("CREATED", keep=5),
    ]
    rows = [
        (
            _ref(m),
            m.get("recipe"),
            m.get("modality"),
            m.get("job_id"),
            str(m.get("digest") or "-")[:12],
            _metrics(m),
            text.ago(m.get("created_at"), now),
        )
        for m in found
    ]
    output.table(columns, rows)


@models.command()
@click.argument("model", shell_complete=session.complete_model)
@session.json_option
def show(model: str, as_json: bool) -> None:
    """Show a model version: NAME@3, NAME@latest, or NAME for the newest."""
    from genctl import comparing, output, text

    with session.client() as client:
        found = client.model(model)
    if as_json:
        output.emit_json(found)
        return
    output.pairs(
        [
            ("model", _ref(found)),
            ("aliases", ", ".join(str(a) for a in found.get("aliases") or [])),
            ("recipe", found.get("recipe")),
            ("code", _of_card(found, "code", "upload")),
            ("came as", _came_as(found)),
            ("licence", text.clean(_of_card(found, "licence") or "")[:80]),
            ("modality", found.get("modality")),
            ("tile", found.get("tile")),
            ("takes", _takes(found)),
            ("job", found.get("job_id")),
            ("parent", found.get("parent")),
            ("adapters", _adapters(found)),
            ("compressed", comparing.compression(_of_card(found, "compression"))),
            ("digest", found.get("digest")),
            ("data digest", found.get("data_digest")),
            ("privacy", comparing.privacy(_of_card(found, "privacy"))),
            ("metrics", _metrics(found)),
            ("created", text.ago(found.get("created_at"), time.time())),
        ]
    )
    _print_evaluation(found)
    output.next_steps(
        [
            ("serve it", f"genctl endpoints create {text.clean(found.get('name'))} --model {text.clean(_ref(found))}"),
            ("its card", f"genctl models show {text.clean(_ref(found))} --json"),
        ]
    )


@models.command(short_help="Show model versions side by side.")
@click.argument("model", nargs=-1, required=True, shell_complete=session.complete_model)
@click.option("--sheet", type=click.Path(dir_okay=False), help="Write their sheets of samples, side by side, as a PNG.")
@session.json_option
def compare(model: tuple[str, ...], sheet: str | None, as_json: bool) -> None:
    """Show model versions side by side: what was found of each beside its anchors, and what it cost.

    Numbers are those of each version's newest evaluation; `kind: evaluate` makes one.
    """
    from genctl import comparing, output, sheets, text

    with session.client() as client:
        found = comparing.fetch(client, model)
        refs = [comparing.ref_of(one) for one in found]
        if sheet is not None:
            drawn = sheets.side_by_side([(ref, client.sheet(ref)) for ref in refs])
            sheets.write(Path(sheet), drawn)
    differ = comparing.differences(found)
    if as_json:
        output.emit_json({"models": found, "differences": differ, "sheet": sheet})
        return
    columns = [output.Column("METRIC"), *(output.Column(text.clean(ref), right=True) for ref in refs)]
    rows = [(line.title, *line.values, line.better or "") for line in comparing.lines(found)]
    output.table([*columns, output.Column("BETTER", keep=3)], rows)
    for ref, one in zip(refs, found, strict=True):
        if one["evaluation"] is None:
            output.note(f"{text.clean(ref)} was not judged: `genctl submit` a job of `kind: evaluate` with it.")
    if differ:
        output.note(
            f"They were judged with other {' and other '.join(differ)}: read each number beside its own anchors only."
        )
    if sheet is not None:
        output.say(f"Their sheets of samples, side by side: {text.clean(sheet)}")


@models.command(short_help="Make a smaller version of a model.")
@click.argument("model", shell_complete=session.complete_model)
@click.option("--int8", "method", flag_value="int8", help="Weights as 8-bit numbers, a scale for each channel.")
@click.option("--bf16", "method", flag_value="bf16", help="Parameters as bfloat16.")
@click.option("--samples", type=int, metavar="N", help="How many items are drawn to judge both.  [default: 2000]")
@click.option("-d", "--detach", is_flag=True, help="Return at once instead of following.")
@session.json_option
def compress(model: str, method: str | None, samples: int | None, detach: bool, as_json: bool) -> int:
    """Publish a further version of a model that is smaller on disk, as a job through the queue.

    Its card says how much smaller it is, how fast it draws and how good it is, measured beside the version that it was
    made of. --json prints the job and returns at once.
    """
    if method is None:
        raise click.UsageError("Say how: --int8 or --bf16.")
    from genctl.commands.submit import submit_document

    document: dict[str, Any] = {"kind": "compress", "model": model, "method": method}
    return submit_document(document | ({} if samples is None else {"samples": samples}), detach=detach, as_json=as_json)


@models.command()
@click.argument("model", shell_complete=session.complete_model)
@click.argument("to", metavar="DIR|FILE.tar", type=click.Path(path_type=Path))
@click.option("--licence", metavar="TEXT|FILE", help="On what terms it may be used, such as CC-BY-4.0.")
@click.option("--huggingface", is_flag=True, help="Write a language model as a directory of transformers.")
@session.json_option
def export(model: str, to: Path, licence: str | None, huggingface: bool, as_json: bool) -> None:
    """Write a model version into a folder, or a tar of one: weights, config, card, lineage, and its recipe's own code.

    Every file's digest, and the version's, is checked on the way. What is there already is not written over. A version
    of adapters is these alone; --huggingface merges them into what they are on.
    """
    from genctl import output, text

    with session.client() as client:
        made = client.export_model(model, to, licence=licence, huggingface=huggingface)
    if as_json:
        output.emit_json(made)
        return
    output.say(text.clean(f"{made['model']} in {made['to']}: {', '.join(made['files'])}"))
    if huggingface:
        return
    output.next_steps([("bring it to another platform", f"genctl models import {text.clean(made['to'])}")])


@models.command("import")
@click.argument("path", metavar="DIR|FILE.tar", type=click.Path(path_type=Path))
@click.option("-n", "--name", help="What it is called here.  [default: the name it had]")
@session.json_option
def import_(path: Path, name: str | None, as_json: bool) -> None:
    """Publish an exported model as the first version of a name that is free here.

    It keeps its digest, and draws the same bytes; its card says where it comes from.
    """
    from genctl import bulk, output, text

    with session.client() as client, bulk.upload_data(str(path), quiet=as_json) as sent:
        found = client.import_model(path, name=name, on_progress=sent)
    if as_json:
        output.emit_json(found)
        return
    output.say(f"{text.clean(_ref(found))}  {text.clean(found.get('digest'))}")
    output.next_steps([("look at it", f"genctl models show {text.clean(_ref(found))}")])


def _came_as(model: dict[str, Any]) -> str:
    origin = _of_card(model, "origin")
    return f"{origin.get('name')}@{origin.get('version')}" if isinstance(origin, dict) else ""


def _adapters(model: dict[str, Any]) -> str:
    """Return of which rank a version's adapters are, and on which layers of its parent; nothing of other versions."""
    told = _of_card(model, "adapter")
    if not isinstance(told, dict):
        return ""
    targets = told.get("targets")
    layers = ", ".join(str(one) for one in targets) if isinstance(targets, list) else "all layers"
    return f"of rank {told.get('rank')}, alpha {told.get('alpha')}, on {layers} of its parent"


def _of_card(model: dict[str, Any], *path: str) -> Any:
    """Return what stands in the card under nested keys, or None."""
    found = model.get("card")
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _ref(model: dict[str, Any]) -> str:
    return f"{model.get('name')}@{model.get('version')}"


def _print_evaluation(model: Mapping[str, Any]) -> None:
    """Show what the newest evaluation found, each metric beside its anchors."""
    from genctl import comparing, output, text

    evaluations = model.get("evaluations") or []
    if not evaluations:
        return
    output.say(f"\n{comparing.headline(evaluations)}")
    anchors, rows = comparing.by_anchor(evaluations[0])
    columns = [output.Column("METRIC"), output.Column("VALUE", right=True)]
    columns += [output.Column(text.clean(anchor).upper(), right=True, keep=5) for anchor in anchors]
    output.table([*columns, output.Column("BETTER", keep=3)], rows)


def _metrics(model: dict[str, Any]) -> str:
    from genctl import text

    found = model.get("metrics")
    return " ".join(f"{k}={text.number(v)}" for k, v in found.items()) if isinstance(found, dict) else ""


def _takes(model: dict[str, Any]) -> str:
    """Return what `cond:` may say to this model: each field, and the values it takes where they are few kinds."""
    card = model.get("card")
    schema = card.get("cond") if isinstance(card, dict) else None
    fields = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(fields, dict):
        return ""
    said = []
    for name, field in fields.items():
        choices = [field, *(field.get("anyOf") or ())] if isinstance(field, dict) else []
        values = [str(value) for choice in choices for value in choice.get("enum", ())]
        shown = ", ".join(values[:12]) + (", ..." if len(values) > 12 else "")
        said.append(f"{name}: {shown}" if shown else str(name))
    return "; ".join(said)
