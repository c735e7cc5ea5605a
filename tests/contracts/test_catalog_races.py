"""What holds when many reach for the same thing at the same moment."""

from __future__ import annotations

from collections import Counter

from records import NOW, a_generate_job, a_job, a_version, an_endpoint
from together import together

from genplatform import errors
from genplatform.catalog import Catalog
from genplatform.domain.states import JobState, ShardState

THREADS = 20


def test_of_many_that_claim_a_shard_one_gets_it(catalog: Catalog):
    with catalog.write() as tx:
        job_pk = a_generate_job(tx, count=128 * 5)

    def claim_every_shard(worker: int) -> list[tuple[int, int]]:
        got = []
        for number in range(5):
            with catalog.write() as tx:
                claim = tx.shards.claim(job_pk, number, 1, f"w{worker}")
            if claim is not None:
                got.append((number, claim))
        return got

    claims = [c for got in together([lambda w=w: claim_every_shard(w) for w in range(8)]) for c in got]

    assert sorted(claims) == [(number, 1) for number in range(5)]


def test_of_many_that_publish_a_claim_one_is_taken(catalog: Catalog):
    with catalog.write() as tx:
        job_pk = a_generate_job(tx)
        tx.shards.claim(job_pk, 0, 1, "w")

    def publish(number: int) -> bool:
        with catalog.write() as tx:
            return tx.shards.settle(job_pk, 0, 1, 1, ShardState.PUBLISHED, folder=f"f{number}")

    assert sorted(together([lambda n=n: publish(n) for n in range(8)])) == [False] * 7 + [True]


def test_of_many_that_end_a_run_one_does(catalog: Catalog):
    ends = [JobState.SUCCEEDED, JobState.FAILED, JobState.QUEUED, JobState.CANCELLING] * 3
    with catalog.write() as tx:
        job_pk = a_job(tx, state="running", run=1)

    def end(to: JobState) -> JobState | None:
        with catalog.write() as tx:
            return to if tx.jobs.move(job_pk, to, run=1, only_from={JobState.RUNNING}) else None

    ended = [to for to in together([lambda to=to: end(to) for to in ends]) if to is not None]

    with catalog.read() as tx:
        assert [tx.jobs.get(job_pk).job_state] == ended


def test_many_submissions_under_one_key_leave_one(catalog: Catalog):
    def submit(number: int) -> bool:
        job_id = f"j_{number:010d}"
        with catalog.write() as tx:
            first = tx.submissions.add("default", "key", "d" * 64, 1, NOW)
            if first is not None:
                a_job(tx, job_id, submission_pk=first)
            else:
                assert tx.submissions.find("default", "key") is not None
            return first is not None

    first = together([lambda n=n: submit(n) for n in range(THREADS)])

    with catalog.read() as tx:
        assert Counter(first) == {True: 1, False: THREADS - 1}
        made = tx.jobs.by_prefix("default", "j_", 100)
        assert made == tx.submissions.jobs(tx.submissions.find("default", "key").id)
        assert len(made) == 1


def test_many_publications_of_a_new_name_get_versions_without_a_gap(catalog: Catalog):
    def publish(number: int) -> int:
        with catalog.write() as tx:
            return tx.models.publish("default", "digits", a_version(size=number))[1]

    versions = together([lambda n=n: publish(n) for n in range(THREADS)])

    with catalog.read() as tx:
        assert sorted(versions) == list(range(1, THREADS + 1))
        assert sorted(m.version for m in tx.models.all("default") if m.name == "digits") == sorted(versions)
        assert [m.size for m in reversed(tx.models.all("default")) if m.name == "digits"] == [
            size for _, size in sorted((v, n) for n, v in enumerate(versions))
        ]


def test_needs_that_are_met_at_once_make_a_job_ready_once(catalog: Catalog):
    parents, children = 4, 25
    with catalog.write() as tx:
        parent_pks = [a_job(tx, f"j_p{n:09d}", state="running", run=1) for n in range(parents)]
        for n in range(children):
            child = a_job(tx, f"j_c{n:09d}", state="waiting", open_needs=parents)
            tx.jobs.add_needs("default", child, parent_pks if n % 2 else parent_pks[::-1])

    def finish(parent_pk: int) -> list[int]:
        with catalog.write() as tx:
            assert tx.jobs.move(parent_pk, JobState.SUCCEEDED, run=1)
            ready = tx.jobs.need_met(parent_pk)
            for job_pk in ready:
                assert tx.jobs.move(job_pk, JobState.QUEUED)
            return ready

    ready = [pk for said in together([lambda p=p: finish(p) for p in parent_pks]) for pk in said]

    with catalog.read() as tx:
        waiting = tx.jobs.page("default", states=["queued"], queue=None, before=None, limit=100)
        assert sorted(ready) == sorted(j.id for j in waiting)
        assert len(ready) == children


def test_many_that_append_to_a_job_lose_nothing(catalog: Catalog):
    with catalog.write() as tx:
        job_pks = [a_job(tx, f"j_{n:010d}") for n in range(3)]

    def append(number: int) -> None:
        order = job_pks if number % 2 else job_pks[::-1]
        rows = [{"tenant_id": "default", "job_pk": pk, "time": NOW, "type": "t", "data": {"n": number}} for pk in order]
        lines = [{"tenant_id": "default", "job_pk": pk, "run": 1, "seq": 7, "time": NOW, "text": "x"} for pk in order]
        with catalog.write() as tx:
            tx.events.add_many(rows)
            tx.events.add_logs(lines)

    together([lambda n=n: append(n) for n in range(THREADS)])

    with catalog.read() as tx:
        for job_pk in job_pks:
            events = tx.events.page(job_pk, after=0, limit=100)
            assert sorted(e.data["n"] for e in events) == list(range(THREADS))
            assert len(tx.events.log_page(job_pk, run=None, after=0, since=None, tail=None, limit=100)) == 1


def test_of_many_that_make_an_endpoint_one_does_and_the_others_hear_so(catalog: Catalog):
    def make(number: int) -> int | None:
        try:
            with catalog.write() as tx:
                an_endpoint(tx, max_replicas=number + 1)
        except errors.Conflict:
            return None
        return number + 1

    made = [n for n in together([lambda n=n: make(n) for n in range(8)]) if n is not None]

    with catalog.read() as tx:
        assert [tx.endpoints.find("default", "digits").max_replicas] == made
