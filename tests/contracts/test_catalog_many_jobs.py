"""Many jobs at once: in one statement each is moved, started and claimed under the fence it would have alone."""

from __future__ import annotations

from records import a_generate_job, a_job

from genplatform.domain.keys import JobKey
from genplatform.domain.states import JobState, RunState


def test_jobs_are_moved_together_each_from_where_it_may_and_under_its_run(catalog):
    with catalog.write() as tx:
        first = a_job(tx, "j_aaaaaaaaaa", state="running", run=2, wish="pause", deadline_at=5.0)
        stale = a_job(tx, "j_bbbbbbbbbb", state="running", run=3)
        ended = a_job(tx, "j_cccccccccc", state="cancelled", run=2)

        moved = tx.jobs.move_all([ended, stale, first], JobState.SUCCEEDED, run=2, done=7)
        rows = tx.jobs.several([first, stale, ended])

    assert moved == {first}
    assert [rows[pk].state for pk in (first, stale, ended)] == ["succeeded", "running", "cancelled"]
    assert (rows[first].done, rows[first].wish, rows[first].deadline_at, rows[stale].done) == (7, None, None, 0)


def test_queued_jobs_are_started_together_each_with_its_next_run(catalog):
    with catalog.write() as tx:
        new = a_job(tx, "j_aaaaaaaaaa", state="queued", run=0)
        again = a_job(tx, "j_bbbbbbbbbb", state="queued", run=4)
        paused = a_job(tx, "j_cccccccccc", state="paused", run=4)

        started = tx.jobs.start_all([new, again, paused], workers=0, pool="p1")
        rows = tx.jobs.several([new, again, paused])

    assert started == {new, again}
    assert [(rows[pk].state, rows[pk].run, rows[pk].pool) for pk in (new, again, paused)] == [
        ("starting", 1, "p1"),
        ("starting", 5, "p1"),
        ("paused", 4, None),
    ]


def test_runs_are_opened_and_moved_together(catalog):
    with catalog.write() as tx:
        pks = [a_job(tx, job_id, run=1) for job_id in ("j_aaaaaaaaaa", "j_bbbbbbbbbb")]
        tx.runs.open_all([("default", pk, 1) for pk in pks], term=3, now=9.0)
        tx.runs.move(pks[0], 1, RunState.FAILED)

        moved = tx.runs.move_all(pks, 1, RunState.RUNNING, started_at=10.0)
        runs = [tx.runs.get(pk, 1) for pk in pks]

    assert moved == {pks[1]}
    assert [(run.state, run.term, run.opened_at, run.started_at) for run in runs] == [
        ("failed", 3, 9.0, None),
        ("running", 3, 9.0, 10.0),
    ]


def test_those_that_exist_are_held_whosever_they_are(catalog):
    with catalog.write() as tx:
        mine, theirs = a_job(tx, "j_aaaaaaaaaa"), a_job(tx, "j_aaaaaaaaaa", tenant_id="other")
        keys = [JobKey("default", "j_aaaaaaaaaa"), JobKey("other", "j_aaaaaaaaaa"), JobKey("other", "j_bbbbbbbbbb")]

        held = tx.jobs.held(keys)

    assert {key: row.id for key, row in held.items()} == {keys[0]: mine, keys[1]: theirs}


def test_those_that_somebody_needs_are_told_apart(catalog):
    with catalog.write() as tx:
        pks = [a_job(tx, f"j_{letter * 10}") for letter in "abcd"]
        tx.jobs.add_needs("default", pks[3], [pks[2], pks[0]])

        assert tx.jobs.needed(pks) == [pks[0], pks[2]]
        assert tx.jobs.needed([pks[1]]) == []


def test_shards_of_several_jobs_are_claimed_together_and_each_once(catalog):
    with catalog.write() as tx:
        one, other = a_generate_job(tx, "j_aaaaaaaaaa"), a_generate_job(tx, "j_bbbbbbbbbb")
        tx.shards.claim(one, 0, run=1, worker="before")

        claimed = tx.shards.claim_all([(one, 0), (other, 0), (one, 1), (other, 99)], 1, "w")
        there = tx.shards.several([(one, 0), (other, 1), (other, 99)])

    assert [(shard.job_pk, shard.number, shard.claim, shard.worker) for shard in claimed] == [
        (other, 0, 1, "w"),
        (one, 1, 1, "w"),
    ]
    assert {place: shard.state for place, shard in there.items()} == {(one, 0): "claimed", (other, 1): "pending"}
