"""diff: in what two jobs differ, from what was asked to what came out."""

from __future__ import annotations

import json
from typing import Any

import click

from genctl import session

DIGEST_LENGTH = 64
SHOWN_OF_DIGEST = 12


@click.command(short_help="Show in what two jobs differ.")
@click.argument("one", metavar="JOB", shell_complete=session.complete_job)
@click.argument("other", metavar="JOB", shell_complete=session.complete_job)
@session.json_option
def diff(one: str, other: str, as_json: bool) -> None:
    """Show in what two jobs differ: spec, data, code, versions, model and result.

    Data, code and models are compared by their digests. A dash is what a job does not have, or not yet.
    """
    from genctl import output, text

    with session.client() as client:
        found = client.diff(one, other)
    if as_json:
        output.emit_json(found)
        return
    jobs = [job for job in found.get("jobs", ()) if isinstance(job, dict)]
    for letter, job in zip("ab", jobs, strict=False):
        output.say(f"{letter}: {text.job_line(job)}")
    differences = [each for each in found.get("differences", ()) if isinstance(each, dict)]
    if not differences:
        output.say("\nThey do not differ in spec, data, code, versions or result.")
        return
    output.say()
    columns = [
        output.Column("PART"),
        output.Column("FIELD"),
        output.Column("A", flexible=True),
        output.Column("B", flexible=True),
    ]
    rows = [(d.get("part"), d.get("field"), _shown(d.get("a")), _shown(d.get("b"))) for d in differences]
    output.table(columns, rows)


def _shown(value: Any) -> str:
    from genctl import text

    if value is None:
        return "-"
    if isinstance(value, str):
        is_digest = len(value) == DIGEST_LENGTH and set(value) <= set("0123456789abcdef")
        return value[:SHOWN_OF_DIGEST] if is_digest else value
    if isinstance(value, float):
        return text.number(value)
    return json.dumps(value)
