"""Submit: a job file becomes jobs, in one transaction, before the answer is given.

Once the commit is done, nothing that is killed next loses the jobs: their ids go to Redis
afterwards, and when that fails the reconciler finds them. The same idempotency key with
the same body is the same jobs; with another body it is refused.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from genplatform.catalog import IdTaken, JobRow, Transaction
from genplatform.domain.ids import new_id
from genplatform.domain.job import ReasonCode
from genplatform.domain.keys import JobKey
from genplatform.domain.states import TERMINAL_JOB_STATES, JobState
from genplatform.errors import BadSpec
from genplatform.services import idempotency, present
from genplatform.services.bases import refuse_bases
from genplatform.services.conditions import refuse_conditions
from genplatform.services.context import Effects, Wiring
from genplatform.services.plans import COLUMNS, JSON_COLUMNS, Plan, plan
from genplatform.services.room import refuse_oversized
from genplatform.services.submissions import PAGE
from genplatform.services.surroundings import Needs, refuse_folders, refuse_late, resolve
from genplatform.spec import JobDocument, deadline_at, load

# Bodies from here on are not read again for nothing: whether their key is known is asked first.
LARGE = 1 << 16
# Of bodies from here on the jobs are sent to the database while they are read, where it takes them so.
STREAMED = 1 << 20
# The hint to the dispatcher holds so many jobs; those behind them it finds by itself in seconds.
HINTED = 1000
DRAWS = 3

_COLUMNS = (
    *COLUMNS,
    *("tenant_id", "job_id", "state", "open_needs", "reason_code", "reason_message", "submission_pk"),
    *("deadline_at", "created_at"),
)
_QUEUED = (JobState.QUEUED.value, 0, None, None)
_UNTOLD: dict[str, Any] = dict.fromkeys(field.name for field in fields(JobRow))


@dataclass
class Progress:
    """How far a submit is: documents read, and jobs given to the database, which keeps all of them or none."""

    read: int = 0
    stored: int = 0


def submit(
    w: Wiring,
    tenant: str,
    body: bytes,
    media_type: str,
    *,
    key: str | None = None,
    sets: Sequence[str] = (),
    overrides: Mapping[str, str] | None = None,
    dry_run: bool = False,
    effects: Effects | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Check a job file and commit its jobs, all or none; returns `{"jobs", "next", "count", "key"}`.

    Of very many the first are returned, and `services.submissions` has them all. With `dry_run`
    everything is checked and nothing is kept: the specs are returned with their defaults. Raises
    BadSpec with every problem, Conflict for a key used for another body. What is to be done on
    Redis is done here, or left in `effects` for the caller, who may answer first. `progress` is
    kept up for who looks at it from another thread.
    """
    idempotency.check(key)
    asked = _digest(body, media_type, sets, overrides or {})
    known = idempotency.made(w, tenant, key, asked) if len(body) >= LARGE and not dry_run else None
    if known is not None:
        return known

    seen = progress or Progress()

    def read(make: Callable[[JobDocument], Plan]) -> list[Plan]:
        def counted(document: JobDocument) -> Plan:
            seen.read += 1
            return make(document)

        seen.read = 0
        return load(body, media_type, w.recipes, sets, overrides or {}, make=counted)

    try:
        if dry_run:
            return _dry_run(w, tenant, read(plan))
        if len(body) >= STREAMED and w.catalog.takes_streams:
            made = _Submission(w, tenant, key or new_id("s", w.randbelow), asked, seen, stream=read)
        else:
            plans = read(plan)
            if key is None and len(plans) > PAGE:
                key = new_id("s", w.randbelow)
            made = _Submission(w, tenant, key, asked, seen, plans)
        answer = made.commit()
    except BadSpec:
        # It may have been good when it was sent first.
        known = None if dry_run else idempotency.made(w, tenant, key, asked)
        if known is None:
            raise
        return known
    except idempotency.SameKey:
        return idempotency.made(w, tenant, key, asked) or {"jobs": [], "next": None}
    after = effects or Effects()
    after.add(made.hint)
    if effects is None:
        after.run()
    return answer


def _dry_run(w: Wiring, tenant: str, plans: Sequence[Plan]) -> dict[str, Any]:
    refuse_folders(plans, w.folders)
    with w.catalog.read() as tx:
        refuse_late(plans, w.clock())
        refuse_oversized(tx, plans, w.clock())
        resolve(tx, tenant, plans)
        refuse_conditions(tx, tenant, plans, w.recipes)
        refuse_bases(w, tx, tenant, plans)
    return {"jobs": [one.shown() for one in plans[:PAGE]], "next": None, "count": len(plans), "key": None}


@dataclass
class _Submission:
    """The jobs of one file on their way into the catalog.

    They are given as plans, or as `stream`, which reads them with what is to make a plan of each:
    then their rows go to the database while the file is still being read.
    """

    w: Wiring
    tenant: str
    key: str | None
    asked: str
    seen: Progress
    plans: Sequence[Plan] = ()
    stream: Callable[[Callable[[JobDocument], Plan]], list[Plan]] | None = None

    def __post_init__(self) -> None:
        self._ids: list[str] = []
        self._open_needs: list[int] = []

    def commit(self) -> dict[str, Any]:
        """Commit the jobs and return the answer. Raises SameKey when the key was used in the meantime."""
        for draw in range(DRAWS):
            self._ids = []
            self.seen.stored = 0
            try:
                with self.w.catalog.write() as tx:
                    rows, keys = self._add(tx)
            except IdTaken:
                if draw + 1 == DRAWS:
                    raise
            else:
                break
        more = str(keys[PAGE - 1]) if len(keys) > PAGE else None
        jobs = [present.job(self.w, row, [], {}) for row in rows]
        return {"jobs": jobs, "next": more, "count": len(keys), "key": self.key}

    def hint(self) -> None:
        """Tell the dispatcher of the jobs that it would start first."""
        queued = (i for i, needs in enumerate(self._open_needs) if not needs)
        first = heapq.nsmallest(HINTED, queued, key=lambda i: (-self.plans[i].priority, i))
        self.w.queues.submit([JobKey(self.tenant, self._ids[i]) for i in sorted(first)])

    def _add(self, tx: Transaction) -> tuple[list[JobRow], Sequence[int]]:
        """Add the jobs, their needs and their first events; returns the first as rows, and all inside keys."""
        now, submission = self.w.clock(), None
        if self.key is not None:
            submission = tx.submissions.add(self.tenant, self.key, self.asked, len(self.plans), now)
            if submission is None:
                raise idempotency.SameKey
        sent = self._stream(tx, submission, now) if self.stream and submission is not None else 0
        # After the key: what was in time when it was sent first is the same jobs for good.
        refuse_late(self.plans, now)
        refuse_folders(self.plans, self.w.folders)
        refuse_oversized(tx, self.plans, now)
        outside = resolve(tx, self.tenant, self.plans, lock=True)
        refuse_conditions(tx, self.tenant, self.plans, self.w.recipes)
        refuse_bases(self.w, tx, self.tenant, self.plans)
        in_file = {one.name: index for index, one in enumerate(self.plans)} if outside else {}
        self._open_needs = [_open_needs(one, outside, in_file) if one.needs else 0 for one in self.plans]
        self._ids += [new_id("j", self.w.randbelow) for _ in self.plans[sent:]]
        count = len(self.plans)
        rows = self._counted(self._rows(submission, now, sent, count))
        keys = tx.submissions.add_jobs(_COLUMNS, rows, count - sent)
        if sent and submission is not None:
            keys = tx.submissions.keys(submission)
            tx.submissions.counted(submission, count)
        if outside:
            tx.submissions.add_needs(self.tenant, _pairs(self.plans, keys, outside, in_file))
        if submission is None or count == 1:
            tx.events.add_first(self._events(keys, now), count)
        else:
            tx.events.add_submitted(submission)
        first = zip(keys, self._rows(submission, now, 0, min(count, PAGE)), strict=False)
        return [_row(pk, row) for pk, row in first], keys

    def _stream(self, tx: Transaction, submission: int, now: float) -> int:
        """Read the file and send each of its first jobs at once, until one needs others or is without a name.

        Returns how many were sent: those behind them are to be added.
        """
        assert self.stream is not None  # noqa: S101 - the caller looked
        sending = True

        with tx.submissions.stream_jobs(_COLUMNS) as send:

            def make(document: JobDocument) -> Plan:
                nonlocal sending
                one = plan(document)
                # In the file's order, which is theirs from then on: those without a name come at its end.
                sending = sending and not one.needs and one.document_index == len(self._ids)
                if sending:
                    self._ids.append(new_id("j", self.w.randbelow))
                    send(self._values(one, self._ids[-1], 0, submission, now))
                    self.seen.stored += 1
                return one

            self.plans = self.stream(make)
        return len(self._ids)

    def _counted(self, rows: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        for row in rows:
            yield row
            self.seen.stored += 1

    def _rows(self, submission: int | None, now: float, start: int, stop: int) -> Iterator[tuple[Any, ...]]:
        for index in range(start, stop):
            yield self._values(self.plans[index], self._ids[index], self._open_needs[index], submission, now)

    def _values(self, one: Plan, job_id: str, needs: int, submission: int | None, now: float) -> tuple[Any, ...]:
        deadline = deadline_at(one.deadline, now)
        if not needs:
            return (*one.values, self.tenant, job_id, *_QUEUED, submission, deadline, now)
        why = (ReasonCode.NEEDS_JOB.value, f"It waits for {', '.join(one.needs)}.")
        return (*one.values, self.tenant, job_id, JobState.WAITING.value, needs, *why, submission, deadline, now)

    def _events(self, keys: Sequence[int], now: float) -> Iterator[tuple[Any, ...]]:
        queued, waiting = (json.dumps({"state": state.value}) for state in (JobState.QUEUED, JobState.WAITING))
        for pk, needs in zip(keys, self._open_needs, strict=True):
            yield self.tenant, pk, now, "submitted", waiting if needs else queued


def _open_needs(one: Plan, outside: Needs, in_file: Mapping[str, int]) -> int:
    """Return how many of the jobs that a plan needs have not succeeded yet."""
    rows = outside[one.document_index]
    return sum(name in in_file for name in one.needs) + sum(row.job_state not in TERMINAL_JOB_STATES for row in rows)


def _pairs(
    plans: Sequence[Plan], keys: Sequence[int], outside: Needs, in_file: Mapping[str, int]
) -> Iterator[tuple[int, int]]:
    for one, pk in zip(plans, keys, strict=True):
        if one.needs:
            wanted = [keys[in_file[name]] for name in one.needs if name in in_file]
            wanted += [row.id for row in outside[one.document_index]]
            yield from ((pk, needed) for needed in dict.fromkeys(wanted))


def _row(pk: int, values: Sequence[Any]) -> JobRow:
    row = _UNTOLD | dict(zip(_COLUMNS, values, strict=True)) | {"id": pk}
    return JobRow(**row | {name: json.loads(row[name]) for name in JSON_COLUMNS})


def _digest(body: bytes, media_type: str, sets: Sequence[str], overrides: Mapping[str, str]) -> str:
    said = json.dumps([media_type, list(sets), dict(sorted(overrides.items()))]).encode()
    return hashlib.sha256(said + b"\0" + body).hexdigest()
