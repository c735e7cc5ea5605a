"""Reading what a job published: a generate job's items, and the files that a command left, one an item."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

from genplatform.catalog import ArtifactRow, JobRow, ShardRow, Transaction
from genplatform.domain import layout
from genplatform.domain.filenames import shown
from genplatform.domain.job import JobKind
from genplatform.domain.states import ShardState
from genplatform.errors import BadRequest, NotFound, Unavailable
from genplatform.services import lookup
from genplatform.services.context import Wiring

BYTES = "application/octet-stream"


def ls(w: Wiring, tenant: str, ref: str, *, limit: int = 100, after: str | None = None) -> dict[str, Any]:
    """Return published items in order of their index; `next` is the last index of a page that has a next one."""
    first = _first(after)
    with w.catalog.read() as tx:
        job = _job_with_outputs(tx, tenant, ref)
        shards = tx.shards.in_state(job.id, ShardState.PUBLISHED)
        files = _files(tx, job)
    items: list[dict[str, Any]] = []
    found = _items(w, job, [s for s in shards if s.start + s.count > first]) if shards else _as_items(job, files)
    for item in found:
        if item["index"] >= first:
            items.append(item)
        if len(items) > limit:
            break
    page = items[:limit]
    following = str(page[-1]["index"]) if len(items) > limit else None
    count = sum(s.count for s in shards) if shards else len(files)
    return {"job_id": job.job_id, "count": count, "items": page, "next": following}


def show(w: Wiring, tenant: str, ref: str, index: int) -> dict[str, Any]:
    """Return one published item, with where its first file lies."""
    _, item, key = _find(w, tenant, ref, index)
    return item | {"uri": w.store.uri(key)}


def content(w: Wiring, tenant: str, ref: str, index: int) -> tuple[BinaryIO, str, int]:
    """Open an item's first file, and return it with its media type and its size; the caller closes it."""
    _, item, key = _find(w, tenant, ref, index)
    source, size = opened(w, key, f"Item {index}")
    return source, item["files"][0]["mime"], size


def opened(w: Wiring, key: str, what: str) -> tuple[BinaryIO, int]:
    """Open an object of the store, and return it with its size; the caller closes it."""
    source = w.store.open(key)
    try:
        size = source.seek(0, os.SEEK_END)
        source.seek(0)
    except Exception as error:  # client libraries raise errors of their own, of no common kind
        source.close()
        raise Unavailable(
            f"{what} cannot be read from the store: {type(error).__name__}.", "Ask again in a moment."
        ) from error
    return source, size


def _find(w: Wiring, tenant: str, ref: str, index: int) -> tuple[JobRow, dict[str, Any], str]:
    """Return an item's job, the item, and the key of its first file."""
    with w.catalog.read() as tx:
        job = _job_with_outputs(tx, tenant, ref)
        shard = tx.shards.containing(job.id, index)
        files = _files(tx, job)
    if shard is not None and shard.state == ShardState.PUBLISHED:
        for item in _items(w, job, [shard]):
            if item["index"] == index:
                return job, item, f"{layout.outputs(job.key)}/{item['path']}"
    if 0 <= index < len(files):
        return job, list(_as_items(job, files))[index], files[index].key
    raise NotFound(f"Job {job.job_id} has no published item {index}.", f"`genctl outputs ls {job.job_id}` lists them.")


def _items(w: Wiring, job: JobRow, shards: list[ShardRow]) -> Iterator[dict[str, Any]]:
    for shard in shards:
        manifest = w.store.read_bytes(f"{layout.outputs(job.key)}/{shard.folder}/{layout.MANIFEST}")
        for line in manifest.splitlines():
            yield json.loads(line)


def _files(tx: Transaction, job: JobRow) -> list[ArtifactRow]:
    """Return the files that a command left, in the order of their names."""
    return tx.artifacts.of_job(job.id, "output") if job.kind == JobKind.COMMAND else []


def _as_items(job: JobRow, files: list[ArtifactRow]) -> Iterator[dict[str, Any]]:
    for index, row in enumerate(files):
        path = shown(row.key.removeprefix(f"{layout.files(job.run_key)}/"))
        file = {"path": path, "sha256": row.sha256, "payload_sha256": row.sha256, "mime": BYTES, "size": row.size}
        item = {"index": index, "custom_id": None, "seed": None, "cond": None, "status": "ok", "files": [file]}
        yield item | {"path": path, "sha256": row.sha256, "error": None}


def _job_with_outputs(tx: Transaction, tenant: str, ref: str) -> JobRow:
    job = lookup.job(tx, tenant, ref)
    if job.kind not in (JobKind.GENERATE, JobKind.COMMAND):
        raise BadRequest(
            f"Job {job.job_id} is a {job.kind} job and has no outputs.",
            f"`genctl show {job.job_id}` tells what it made.",
        )
    return job


def _first(after: str | None) -> int:
    if after is None or after == "":
        return 0
    if not after.isdecimal() or len(after) > 18:
        raise BadRequest(f"{after!r} is not a page mark.", "Give the `next` of the page before.")
    return int(after) + 1
