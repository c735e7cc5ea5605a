"""Finish generate jobs: when every shard is published, the manifest is written and the job succeeds."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

from genplatform.catalog import EndedRow, JobRow, ShardRow
from genplatform.domain import layout
from genplatform.domain.job import JobKind, ReasonCode
from genplatform.domain.keys import JobKey
from genplatform.domain.retry import Cause
from genplatform.domain.states import TERMINAL_JOB_STATES, JobState, ShardState
from genplatform.errors import NotFound
from genplatform.services.context import Effects, Wiring
from genplatform.services.endings import Ending, close_run, succeed_jobs
from genplatform.services.leadership import led
from genplatform.store import Stored

# Also before any word of its Run: a platform that went down may have had only the manifest to write.
AT_WORK = (JobState.STARTING, JobState.RUNNING)
# So many manifests are written at a time.
WRITERS = 8


def finish(w: Wiring, term: int, jobs: Sequence[JobRow]) -> int:
    """Write each job's `manifest.jsonl` from its shards' own, and end those that are complete; returns how many.

    May be done twice with the same result: the manifest is a function of the published shards.
    A job whose published bytes are not there any more fails: no other Run would make them again.
    What goes wrong with one is raised once the others are over.
    """
    with w.catalog.read() as tx:
        shards = tx.shards.of_all([job.id for job in jobs])
    complete = [(job, shards[job.id]) for job in jobs if _is_complete(job, shards[job.id])]
    written, lost, problems = _write_manifests(w, complete)
    for job, words in lost:
        hint = "Something else changed the store. Submit the job again to make its items anew."
        ending = Ending(Cause.USER_ERROR, words, hint, ReasonCode.OUTPUTS_LOST.value, final=True)
        close_run(w, job.run_key, ending, term=term)
    ended = _end_all(w, term, written) if written else 0
    if problems:
        raise problems[0]
    return ended


@cache
def _writers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(WRITERS, thread_name_prefix="manifest")


class _OutputsLost(Exception):
    """What was published is not what the store has."""


def _write_manifests(
    w: Wiring, complete: Sequence[tuple[JobRow, Sequence[ShardRow]]]
) -> tuple[list[tuple[JobRow, Stored]], list[tuple[JobRow, str]], list[Exception]]:
    """Return what was written, whose outputs are lost and why, and what else went wrong."""
    written: list[tuple[JobRow, Stored]] = []
    lost: list[tuple[JobRow, str]] = []
    problems: list[Exception] = []
    with tempfile.TemporaryDirectory(prefix="genctl-manifest-") as place:

        def write(one: tuple[JobRow, Sequence[ShardRow]]) -> None:
            job, shards = one
            try:
                written.append((job, _write_manifest(w, job, shards, Path(place))))
            except _OutputsLost as error:
                lost.append((job, str(error)))
            except Exception as error:
                problems.append(error)

        if len(complete) == 1:
            write(complete[0])
        elif complete:
            # Most of it is waiting for the store.
            list(_writers().map(write, complete))
    return written, lost, problems


def _end_all(w: Wiring, term: int, manifests: Sequence[tuple[JobRow, Stored]]) -> int:
    effects = Effects()
    stored = {job.id: manifest for job, manifest in manifests}
    with led(w, term) as tx:
        ended = succeed_jobs(w, tx, effects, [job for job, _ in manifests])
        tx.artifacts.insert_many([_row(job, stored[job.id], w.clock()) for job in ended])
    effects.run()
    return len(ended)


def _is_complete(job: JobRow, shards: Sequence[ShardRow]) -> bool:
    return job.job_state in AT_WORK and {shard.state for shard in shards} == {ShardState.PUBLISHED}


def _row(job: JobRow, manifest: Stored, now: float) -> dict[str, Any]:
    return {
        "tenant_id": job.tenant_id,
        "job_pk": job.id,
        "run": job.run,
        "kind": "manifest",
        "key": manifest.key,
        "sha256": manifest.sha256,
        "size": manifest.size,
        "step": None,
        "created_at": now,
    }


def _write_manifest(w: Wiring, job: JobRow, shards: Sequence[ShardRow], place: Path) -> Stored:
    folder, path = layout.outputs(job.key), place / job.job_id
    if len(shards) == 1:
        return w.store.put_bytes(f"{folder}/{layout.MANIFEST}", _of_shard(w, folder, shards[0]))
    with path.open("wb") as whole:
        for shard in shards:
            whole.write(_of_shard(w, folder, shard))
    return w.store.put_file(path, f"{folder}/{layout.MANIFEST}")


def _of_shard(w: Wiring, folder: str, shard: ShardRow) -> bytes:
    """Return a shard's own manifest; raises _OutputsLost when it is not what was published."""
    key = f"{folder}/{shard.folder}/{layout.MANIFEST}"
    try:
        lines = w.store.read_bytes(key)
    except NotFound as error:
        raise _OutputsLost(f"The manifest of shard {shard.number} is gone: {error.message}") from error
    if hashlib.sha256(lines).hexdigest() != shard.manifest_sha256:
        raise _OutputsLost(f"The manifest of shard {shard.number} is not the one that was published: {key}.")
    return lines


def ended(w: Wiring, after: tuple[float, int], until: float, limit: int) -> list[EndedRow]:
    """Return jobs that ended up to a moment, in the order in which they did, from behind one given by end and key."""
    with w.catalog.read() as tx:
        return tx.jobs.ended(after, until, limit)


def with_lost_claims(w: Wiring, jobs: Sequence[EndedRow]) -> set[int]:
    """Return the inside keys of those of the jobs that may have leftovers: every file belongs to a claim."""
    generating = [job.id for job in jobs if job.kind == JobKind.GENERATE]
    with w.catalog.read() as tx:
        return tx.shards.with_lost_claims(generating)


def leftovers(w: Wiring, job_pk: int, key: JobKey) -> list[str] | None:
    """Return what lies in an ended job's outputs and no published shard refers to: garbage of claims that were lost.

    None while the job has not ended: what lies there may be published the next moment. Of one
    that was pruned nothing is: whether its files go with it is the pruner's choice.
    """
    folder = layout.outputs(key)
    with w.catalog.read() as tx:
        now = tx.jobs.by_id(*key)
        if now is None:
            return []
        if now.job_state not in TERMINAL_JOB_STATES:
            return None
        kept = {s.folder for s in tx.shards.in_state(job_pk, ShardState.PUBLISHED)}
    found = {name.removeprefix(f"{folder}/").split("/")[0] for name in w.store.list(folder)}
    return [f"{folder}/{name}" for name in sorted(found - kept) if name != layout.MANIFEST]


def sweep(w: Wiring, job_pk: int, key: JobKey) -> int | None:
    """Remove an ended job's leftovers; returns how many, None while it has not ended."""
    names = leftovers(w, job_pk, key)
    for name in names or ():
        w.store.remove(name)
    return None if names is None else len(names)
