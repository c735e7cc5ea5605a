"""outputs ls, show, get: what jobs made, item by item."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import click

from genctl import session

if TYPE_CHECKING:
    from genctl.client import Client


@click.group(short_help="What jobs made.")
def outputs() -> None:
    """What jobs made, item by item."""


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


@outputs.command()
@click.argument("job", shell_complete=session.complete_job)
@click.argument("indexes", metavar="[INDEX]...", nargs=-1, type=click.IntRange(min=0))
@click.option("-o", "--to", metavar="DIR", help="The folder to write into; left out, one named after the job's id.")
@session.json_option
def get(job: str, indexes: tuple[int, ...], to: str | None, as_json: bool) -> None:
    """Copy what JOB made into a folder: all of it, or the items of these INDEXes.

    Files have the paths that `outputs ls` shows. What is there already is not copied again, and no other file is
    written over.
    """
    from genctl import output, text

    with session.client() as client:
        job_id = str(client.job(job)["id"])
        folder = Path(to if to is not None else job_id)
        items = [client.output(job_id, index) for index in indexes] if indexes else client.all_outputs(job_id)
        got = _get_all(client, job_id, items, folder)
    if as_json:
        output.emit_json({"job_id": job_id, "to": str(folder), "files": got})
    else:
        output.note(f"{len(got)} file{'' if len(got) == 1 else 's'} in {text.clean(folder)}")


def _get_all(client: Client, job: str, items: Iterable[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    got = []
    for item in items:
        if item.get("status") == "ok":
            index, digest = int(item["index"]), str(item["sha256"])
            path = folder / _relative(str(item["path"]))
            _get(client, job, index, digest, path)
            got.append({"index": index, "path": str(path), "sha256": digest})
    return got


def _get(client: Client, job: str, index: int, digest: str, path: Path) -> None:
    """Copy one item's file to `path`, which appears whole and with its digest, or not at all."""
    from genplatform.errors import Conflict, Unavailable

    if path.exists():
        with path.open("rb") as there:
            if hashlib.file_digest(there, "sha256").hexdigest() == digest:
                return
        raise Conflict(f"{path} is there already, with other content.", "Give another folder with --to.")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{os.getpid()}.{index}.part")
    try:
        if client.download(job, index, part) != digest:
            raise Unavailable(
                f"The file of item {index} is not the one that was published: its SHA-256 is another.",
                "`genctl db verify --deep` tells what else is damaged in the store.",
            )
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _relative(path: str) -> PurePosixPath:
    """Return a path that a platform named, if it stays in the folder it is put into."""
    from genplatform.errors import BadRequest

    relative = PurePosixPath(path)
    if relative.is_absolute() or ".." in relative.parts or not relative.parts or "\0" in path:
        raise BadRequest(f"The platform names a file {path!r}, which leads out of the folder.", "It is not copied.")
    return relative


def _why(item: dict[str, Any]) -> str:
    error = item.get("error")
    if isinstance(error, dict):
        return str(error.get("message") or error.get("code") or "")
    return str(error or "")
