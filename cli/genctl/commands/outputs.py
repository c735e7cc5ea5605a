"""outputs ls, show: what generate jobs made, item by item."""

from __future__ import annotations

from typing import Any

import click

from genctl import session


@click.group(short_help="What generate jobs made.")
def outputs() -> None:
    """What generate jobs made, item by item."""


@outputs.command("ls")
@click.argument("job", shell_complete=session.complete_job)
@click.option("-l", "--limit", type=click.IntRange(min=1), help="At most this many items.")
@click.option("--after", help="Go on behind the item that an earlier page named as `next`.")
@session.json_option
def list_(job: str, limit: int | None, after: str | None, as_json: bool) -> None:
    """List the items that JOB made."""
    from genctl import output, text

    with session.client() as client:
        page = client.outputs(job, limit=limit, after=after)
    if as_json:
        output.emit_json(page)
        return
    items = [item for item in page.get("items", []) if isinstance(item, dict)]
    columns = [
        output.Column("INDEX", right=True),
        output.Column("SEED", keep=5, right=True),
        output.Column("STATUS", keep=7, state=True),
        output.Column("SHA-256", keep=3),
        output.Column("PATH", flexible=True),
    ]
    rows = [
        (i.get("index"), i.get("seed"), i.get("status"), str(i.get("sha256") or "-")[:12], i.get("path") or _why(i))
        for i in items
    ]
    output.table(columns, rows)
    more = page.get("next")
    command = f"genctl outputs ls {text.clean(page.get('job_id') or job)} --after {text.clean(more)}"
    tail = f"; more with `{command}`" if more is not None else ""
    output.note(f"{len(items)} of {text.clean(page.get('count'))} items{tail}")


@outputs.command()
@click.argument("job", shell_complete=session.complete_job)
@click.argument("index", type=click.IntRange(min=0))
@session.json_option
def show(job: str, index: int, as_json: bool) -> None:
    """Show item INDEX of JOB: its seed, its files and their digests."""
    from genctl import output, text

    with session.client() as client:
        item = client.output(job, index)
    if as_json:
        output.emit_json(item)
        return
    rows: list[tuple[str, Any]] = [
        ("index", item.get("index")),
        ("custom id", item.get("custom_id")),
        ("seed", item.get("seed")),
        ("condition", item.get("cond")),
        ("status", item.get("status")),
        ("error", _why(item)),
        ("where", text.place(item.get("uri"))),
    ]
    for file in item.get("files") or []:
        rows += [
            ("file", file.get("path")),
            ("  type", file.get("mime")),
            ("  sha256", file.get("sha256")),
            ("  payload sha256", file.get("payload_sha256")),
        ]
    output.pairs(rows)


def _why(item: dict[str, Any]) -> str:
    error = item.get("error")
    if isinstance(error, dict):
        return str(error.get("message") or error.get("code") or "")
    return str(error or "")
