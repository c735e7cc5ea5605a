"""Verify the record: against its own laws, against the retries that its jobs allow, and against the store.

Safe beside a platform that is up: the laws are asked of one snapshot, and what seems to be missing
in the store is looked up in the record once more.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from genplatform.catalog import Catalog, Problem, problems
from genplatform.catalog.references import Kind, Reference, references, still_refers
from genplatform.domain import layout
from genplatform.domain.retry import Cause, RetryPolicy
from genplatform.errors import BadRequest, BadSpec, NotFound
from genplatform.spec import parse_stored, retry_policy
from genplatform.store import Store


def verify(catalog: Catalog, store: Store | None = None, deep: bool = False) -> list[Problem]:
    """Return all that is wrong with the record; empty when all is well.

    With a `store`, what the record refers to must be there; with `deep` its bytes are read, and
    must have the digests that were published. Raises Unavailable when one of both cannot be
    read, SettingsError when the tables are of another revision.
    """
    found = problems(catalog.engine)
    found += _tries(catalog)
    if store is not None:
        for reference in references(catalog.engine):
            wrong = list(_wrong(store, reference, deep))
            if wrong and still_refers(catalog.engine, reference):
                found += wrong
    return sorted(found)


def _tries(catalog: Catalog) -> Iterator[Problem]:
    """Yield the jobs that were tried more often than they allow."""
    with catalog.read() as tx:
        ended = tx.runs.ended_again()
    for tenant, job_id, spec, cause, times in ended:
        try:
            policy = retry_policy(parse_stored(spec))
        except BadSpec:
            policy = RetryPolicy()
        if cause in set(Cause) and not policy.decide(Cause(cause), {Cause(cause): times - 1}).retry:
            message = f"It was tried again although {times - 1} of its runs had ended by {cause} already."
            yield Problem("tries", f"{tenant}/{job_id}", message)


def _wrong(store: Store, reference: Reference, deep: bool) -> Iterator[Problem]:
    """Yield what is wrong with what one row refers to."""

    def problem(law: str, key: str, is_: str) -> Problem:
        return Problem(law, reference.about, f"Its {reference.kind} {is_}: {store.uri(key)}.")

    try:
        for key, sha256 in _objects(reference):
            if not store.exists(key):
                yield problem("store_missing", key, "is not in the store")
            elif deep and sha256 is not None and store.measure(key).sha256 != sha256:
                yield problem("store_digest", key, "is not what was published")
            elif deep:
                yield from (
                    problem("store_digest", inner, "holds a file that is not what was published")
                    for inner, wanted in _inside(store, reference, key)
                    if store.measure(inner).sha256 != wanted
                )
    except NotFound as error:
        yield Problem("store_missing", reference.about, f"Its {reference.kind} is not whole: {error.message}")
    except (BadRequest, ValueError, KeyError, TypeError):
        yield problem("store_digest", reference.key, "cannot be read as one")


def _objects(reference: Reference) -> list[tuple[str, str | None]]:
    """Return the objects that a row itself speaks of, with their digests as far as it has them."""
    key, sha256 = reference.key, reference.sha256
    match reference.kind:
        case Kind.SHARD:
            return [(f"{key}/{layout.MANIFEST}", sha256)]
        case Kind.CHECKPOINT | Kind.BEST_CHECKPOINT:
            return [(f"{key}/{layout.STATE}", sha256)]
        case Kind.MODEL:
            weights = [] if sha256 is None else [(f"{key}/{layout.WEIGHTS}", sha256)]
            return [(f"{key}/{layout.CONFIG}", None), *weights]
        case _:
            return [(key, sha256)]


def _inside(store: Store, reference: Reference, key: str) -> Iterator[tuple[str, str]]:
    """Yield what an object lists in its turn: each file with the digest it must have."""
    if reference.kind == Kind.SHARD:
        folder = reference.key.rpartition("/")[0]
        for line in store.read_bytes(key).splitlines():
            yield from ((f"{folder}/{file['path']}", file["sha256"]) for file in json.loads(line)["files"])
    elif reference.kind in {Kind.CHECKPOINT, Kind.BEST_CHECKPOINT}:
        told: dict[str, Any] = json.loads(store.read_bytes(key))
        yield from ((f"{reference.key}/{name}", sha256) for name, sha256 in told["files"].items())
