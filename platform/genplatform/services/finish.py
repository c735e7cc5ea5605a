"""Finish a generate job: when every shard is published, its manifest is written and the job succeeds."""

from __future__ import annotations

import tempfile
from pathlib import Path

from genplatform.catalog import JobRow
from genplatform.domain import layout
from genplatform.domain.states import JobState, ShardState
from genplatform.services.context import Effects, Wiring
from genplatform.services.endings import succeed_job
from genplatform.services.leadership import led


def finish(w: Wiring, term: int, job: JobRow) -> bool:
    """Write `manifest.jsonl` from the shards' own and end the job; False when it is not complete.

    May be done twice with the same result: the manifest is a function of the published shards.
    """
    with w.catalog.read() as tx:
        if job.job_state is not JobState.RUNNING or set(tx.shards.count(job.id)) != {ShardState.PUBLISHED}:
            return False
        shards = tx.shards.of_job(job.id)
    folder = layout.outputs(job.key)
    with tempfile.TemporaryDirectory(prefix="genctl-manifest-") as place:
        path = Path(place) / layout.MANIFEST
        with path.open("wb") as whole:
            for shard in shards:
                whole.write(w.store.read_bytes(f"{folder}/{shard.folder}/{layout.MANIFEST}"))
        stored = w.store.put_file(path, f"{folder}/{layout.MANIFEST}")
    effects = Effects()
    with led(w, term) as tx:
        if not succeed_job(w, tx, effects, job, done=job.total):
            return False
        tx.artifacts.insert(
            {
                "tenant_id": job.tenant_id,
                "job_pk": job.id,
                "run": job.run,
                "kind": "manifest",
                "key": stored.key,
                "sha256": stored.sha256,
                "size": stored.size,
                "step": None,
                "created_at": w.clock(),
            }
        )
    effects.run()
    return True


def leftovers(w: Wiring, job: JobRow) -> list[str]:
    """Return what lies in a job's outputs and no published shard refers to: garbage of claims that were lost."""
    folder = layout.outputs(job.key)
    with w.catalog.read() as tx:
        kept = {s.folder for s in tx.shards.in_state(job.id, ShardState.PUBLISHED)}
    found = {key.removeprefix(f"{folder}/").split("/")[0] for key in w.store.list(folder)}
    return [f"{folder}/{name}" for name in sorted(found - kept) if name != layout.MANIFEST]


def sweep(w: Wiring, job: JobRow) -> int:
    """Remove an ended job's leftovers; returns how many."""
    names = leftovers(w, job)
    for name in names:
        w.store.remove(name)
    return len(names)
