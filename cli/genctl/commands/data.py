"""data check: what a job file's trainings would learn from, read whole before any of them does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from genctl import failures, session
from genplatform.domain.recipe_code import RecipeCode
from genplatform.errors import BadRequest, BadSpec, GenctlError, SpecProblem

STDIN = "-"
BAD = 1
MOST_CLASSES = 30
MOST_SKIPPED = 20
CODE = str(RecipeCode("0" * 64, "recipe", "Recipe"))  # its code is not looked at


@click.group(short_help="Training data: check it before a job reads it.")
def data() -> None:
    """Training data: check it before a job reads it."""


@data.command()
@click.argument("file", metavar="FILE|-", type=click.Path(allow_dash=True))
@click.option("--set", "sets", multiple=True, metavar="K=V", help="Change a field of the job file, such as seed=7.")
@session.json_option
@click.pass_context
def check(ctx: click.Context, file: str, sets: tuple[str, ...], as_json: bool) -> int:
    """Read all data of a job file's trainings, on this machine, and report counts, classes and what is wrong.

    Wrong are items that cannot be read beyond `data.skip`, equal items in two parts of the split, and
    classes that are held out and not learned. The exit code is 1 when anything is wrong.
    """
    from genctl import output
    from genctl.datafiles import with_absolute_set, with_absolute_sources
    from genctl.jobfiles import read_file, read_stream
    from genctl.recipefiles import with_sent_recipe_set, with_sent_recipes

    body, media_type = read_stream(sys.stdin.buffer.read) if file == STDIN else read_file(Path(file))
    base = Path() if file == STDIN else Path(file).parent
    body = with_sent_recipes(with_absolute_sources(body, media_type, base), media_type, lambda _: CODE)
    told = _told(
        body, media_type, [with_sent_recipe_set(with_absolute_set(one, Path()), lambda _: CODE) for one in sets]
    )
    try:
        reports = _reports(told)
    except BadSpec as error:
        debug = bool(ctx.find_root().params.get("debug"))
        return failures.report(error, debug=debug, source="stdin" if file == STDIN else file)
    if as_json:
        output.emit_json({"data": reports})
    else:
        for report in reports:
            _print(report)
    return BAD if any(report["problems"] for report in reports) else 0


def _told(body: bytes, media_type: str, sets: list[str]) -> dict[str, Any]:
    """Have the data read by a process of its own, which may load what this one must not."""
    command = [sys.executable, "-P", "-m", "genworkers.data.check", "--media-type", media_type]
    command += [f"--set={one}" for one in sets]
    done = subprocess.run(command, input=body, stdout=subprocess.PIPE, check=False)
    try:
        told: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise GenctlError(
            f"Reading the data ended with code {done.returncode} and no word.", "What it printed stands above."
        ) from None
    return told


def _reports(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    if "bad_spec" in told:
        raise BadSpec([SpecProblem(**problem) for problem in told["bad_spec"]])
    if "error" in told:
        raise BadRequest(told["error"]["message"], told["error"]["hint"])
    reports: list[dict[str, Any]] = told["data"]
    return reports


def _print(report: Mapping[str, Any]) -> None:
    from genctl import output, text

    skipped = report.get("skipped") or {}
    pairs = [("job", report["job"]), ("source", report["source"])]
    if "items" in report:
        pairs += [("items", f"{report['items']:,}"), *_shapes(report), ("digest", report["digest"])]
        if report.get("revision"):
            pairs.append(("commit", report["revision"]))
    if skipped.get("count"):
        pairs.append(("left out", f"{skipped['count']:,}"))
    output.pairs(pairs)
    if report.get("parts"):
        output.say()
        _print_parts(report)
    for one in skipped.get("items", ())[:MOST_SKIPPED]:
        output.say(text.clean(f"Left out: {one['item']} {one['why']}"))
    if skipped.get("count", 0) > MOST_SKIPPED:
        output.say(f"Left out: {skipped['count'] - MOST_SKIPPED:,} more; --json lists them.")
    for problem in report["problems"]:
        output.say(text.clean(f"Problem: {problem['message']} {problem['hint']}".strip()))
    if not report["problems"]:
        output.say("Nothing is wrong with it.")


def _shapes(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what one item is, a line each."""
    found = [("pictures", _size(report["shape"]))] if report.get("shape") else []
    if report.get("bytes") is not None:
        found.append(("bytes of text", f"{report['bytes']:,}"))
    if "source_shape" in report:
        found.append(("made of", _size(report["source_shape"])))
    if "sound" in report:
        samples, rate = report["sound"]["samples"], report["sound"]["rate"]
        found.append(("sounds", f"{samples / rate:.4g} s of {rate:,} samples a second"))
    return found


def _size(shape: Mapping[str, int]) -> str:
    return f"{shape['width']}x{shape['height']}, {'grey' if shape['channels'] == 1 else 'colour'}"


def _print_parts(report: Mapping[str, Any]) -> None:
    from genctl import output

    parts, names = report["parts"], report["classes"] or []
    columns = [output.Column("CLASS", flexible=True), *(output.Column(name.upper(), right=True) for name in parts)]
    rows = [
        (name, *(f"{part['classes'][at]:,}" for part in parts.values())) for at, name in enumerate(names[:MOST_CLASSES])
    ]
    if len(names) > MOST_CLASSES:
        rows.append((f"({len(names) - MOST_CLASSES:,} more)", *("" for _ in parts)))
    rows.append(("all", *(f"{part['items']:,}" for part in parts.values())))
    output.table(columns, rows)
