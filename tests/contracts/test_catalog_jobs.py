"""Jobs in the record: found, listed, moved by the transition table and nothing else, fenced by their Run."""

from __future__ import annotations

from itertools import product

import pytest
import sqlalchemy as sa
from records import NOW, a_job

from genplatform.domain.job import Progress, Reason
from genplatform.domain.states import (
    JOB_TRANSITIONS,
    RUN_TRANSITIONS,
    TERMINAL_JOB_STATES,
    JobState,
    RunState,
)


def set_state(tx, job_pk: int, state: JobState) -> None:
    """Put a job in a state by force, as no repository does."""
    tx.jobs._db.execute(sa.text("UPDATE jobs SET state = :s, run = 3 WHERE id = :i"), {"s": state.value, "i": job_pk})


def test_a_job_comes_back_as_it_was_written(catalog):
    spec = {"kind": "train", "seed": 2**62, "lr": 2e-4, "names": ["é", "ζ"], "none": None}
    with catalog.write() as tx:
        job_pk = a_job(
            tx,
            spec=spec,
            labels={"team": "a"},
            state="running",
            run=2,
            reason_code="behind_others",
            reason_message="3 before it",
            done=10,
            total=40,
            rate=2.5,
            run_at=NOW + 0.125,
        )
    with catalog.read() as tx:
        job = tx.jobs.get(job_pk)

    assert job.spec == spec
    assert job.labels == {"team": "a"}
    assert job.run_at == NOW + 0.125
    assert str(job.key) == "default/j_aaaaaaaaaa"
    assert str(job.run_key) == "default/j_aaaaaaaaaa/2"
    assert job.job_state is JobState.RUNNING
    assert job.reason == Reason("behind_others", "3 before it")
    assert job.progress == Progress(10, 40, "steps", 2.5)


def test_a_job_is_found_by_id_and_its_newest_by_name_and_only_by_its_tenant(catalog):
    with catalog.write() as tx:
        a_job(tx, "j_aaaaaaaaaa")
        newer = a_job(tx, "j_bbbbbbbbbb")
        a_job(tx, "j_cccccccccc", name="other")
        theirs = a_job(tx, "j_aaaaaaaaaa", tenant_id="theirs")

        assert tx.jobs.by_name("default", "digits").id == newer
        assert tx.jobs.by_id("theirs", "j_aaaaaaaaaa").id == theirs
        assert tx.jobs.by_id("theirs", "j_aaaaaaaaaa", lock=True).id == theirs
        assert tx.jobs.by_id("theirs", "j_bbbbbbbbbb") is None
        assert tx.jobs.by_name("default", "digit") is None
        found = tx.jobs.by_ids("default", ["j_cccccccccc", "j_aaaaaaaaaa", "j_zzzzzzzzzz"])
        assert [j.job_id for j in found] == ["j_aaaaaaaaaa", "j_cccccccccc"]
        assert tx.jobs.by_ids("default", []) == []


def test_two_jobs_of_a_tenant_never_share_an_id(catalog):
    def add_twice() -> None:
        with catalog.write() as tx:
            a_job(tx)
            a_job(tx)

    with pytest.raises(sa.exc.IntegrityError):
        add_twice()


def test_a_prefix_finds_the_ids_that_start_so_and_no_other(catalog):
    ids = ["j_ab2cdefghj", "j_ab2cdefghk", "j_ab3cdefghj", "j_abzzzzzzzz", "j_b222222222"]
    with catalog.write() as tx:
        for job_id in ids:
            a_job(tx, job_id)
        a_job(tx, "j_ab2222222x", tenant_id="theirs")

        def found(prefix: str, limit: int = 10) -> list[str]:
            return [j.job_id for j in tx.jobs.by_prefix("default", prefix, limit)]

        assert found("j_ab2c") == ids[:2]
        assert found("j_ab") == ids[:4]
        assert found("j_abz") == [ids[3]]
        assert found("j_") == ids
        assert found("j_", limit=2) == ids[:2]
        assert found(ids[4]) == [ids[4]]
        assert found("j_ac") == []
        assert found("j_%") == found("j_a_") == []


def test_pages_of_jobs_are_newest_first_and_meet_without_gap_or_overlap(catalog):
    with catalog.write() as tx:
        states = ["queued", "running", "succeeded"]
        for n in range(12):
            a_job(tx, f"j_{n:010d}", state=states[n % 3], queue="fast" if n % 2 else "default")
        a_job(tx, "j_theirs2222", tenant_id="theirs")

        def walk(**filters) -> list[str]:
            seen, before = [], None
            while page := tx.jobs.page("default", before=before, limit=5, **({"states": [], "queue": None} | filters)):
                seen += [j.job_id for j in page]
                assert before is None or page[0].id < before
                before = page[-1].id
            return seen

        def expected(wanted) -> list[str]:
            return [f"j_{n:010d}" for n in reversed(range(12)) if wanted(n)]

        assert walk() == expected(lambda n: True)
        assert walk(states=["running", "succeeded"]) == expected(lambda n: n % 3)
        assert walk(queue="fast") == expected(lambda n: n % 2)
        assert walk(states=["queued"], queue="fast") == expected(lambda n: n % 3 == 0 and n % 2)
        assert walk(queue="nosuch") == []


def test_the_dispatcher_reads_every_tenants_jobs_of_a_state_oldest_first_in_pages(catalog):
    with catalog.write() as tx:
        first = a_job(tx, "j_aaaaaaaaaa", state="queued")
        a_job(tx, "j_bbbbbbbbbb", state="failed")
        third = a_job(tx, "j_cccccccccc", state="starting", tenant_id="theirs")
        fourth = a_job(tx, "j_dddddddddd", state="queued")

        wanted = [JobState.QUEUED, JobState.STARTING]
        assert [j.id for j in tx.jobs.in_states(wanted)] == [first, third, fourth]
        assert [j.id for j in tx.jobs.in_states(wanted, limit=2)] == [first, third]
        assert [j.id for j in tx.jobs.in_states(wanted, after=first)] == [third, fourth]
        assert tx.jobs.counts() == {"queued": 2, "starting": 1}


def test_jobs_are_due_when_their_time_has_come_and_never_without_one(catalog):
    with catalog.write() as tx:
        now = a_job(tx, "j_aaaaaaaaaa", state="waiting", run_at=NOW)
        a_job(tx, "j_bbbbbbbbbb", state="waiting", run_at=NOW + 0.001)
        a_job(tx, "j_cccccccccc", state="waiting", run_at=None)
        a_job(tx, "j_dddddddddd", state="queued", run_at=NOW - 1)
        past = a_job(tx, "j_eeeeeeeeee", state="waiting", run_at=NOW - 10)

        assert [j.id for j in tx.jobs.due(NOW, NOW + 60, 10)] == [past, now]
        assert [j.id for j in tx.jobs.due(NOW, NOW + 60, 1)] == [past]


def test_a_job_that_would_wait_for_longer_than_anything_does_is_due(catalog):
    with catalog.write() as tx:
        a_job(tx, "j_aaaaaaaaaa", state="waiting", run_at=NOW + 60)
        put_back = a_job(tx, "j_bbbbbbbbbb", state="waiting", run_at=NOW + 3600)

        assert [j.id for j in tx.jobs.due(NOW, NOW + 60, 10)] == [put_back]


def test_a_job_moves_as_the_transition_table_says_and_in_no_other_way(catalog):
    with catalog.write() as tx:
        job_pk = a_job(tx)
        for before, after in product(JobState, JobState):
            set_state(tx, job_pk, before)

            moved = tx.jobs.move(job_pk, after, reason_code=after.value)

            legal = after in JOB_TRANSITIONS[before]
            assert moved is legal, f"{before} -> {after}"
            assert tx.jobs.get(job_pk).state == (after if legal else before)


def test_a_job_moves_from_the_named_states_only_and_never_past_the_table(catalog):
    with catalog.write() as tx:
        job_pk = a_job(tx)
        for before, after, named in product(JobState, JobState, (JobState.QUEUED, JobState.RUNNING)):
            set_state(tx, job_pk, before)

            moved = tx.jobs.move(job_pk, after, only_from={named})

            assert moved is (before is named and after in JOB_TRANSITIONS[before])


def test_a_write_of_a_run_that_is_not_the_current_one_changes_nothing(catalog):
    with catalog.write() as tx:
        job_pk = a_job(tx, state="running", run=2)

        for stale in (0, 1, 3):
            assert not tx.jobs.move(job_pk, JobState.SUCCEEDED, run=stale, done=9)
            assert not tx.jobs.touch(job_pk, run=stale, done=9)
        untouched = tx.jobs.get(job_pk)
        assert tx.jobs.touch(job_pk, run=2, done=5)
        assert tx.jobs.move(job_pk, JobState.SUCCEEDED, run=2, finished_at=NOW)
        ended = tx.jobs.get(job_pk)

    assert (untouched.state, untouched.done) == ("running", 0)
    assert (ended.state, ended.done, ended.finished_at) == ("succeeded", 5, NOW)


def test_opening_a_run_makes_it_the_current_one_and_shuts_the_one_before_out(catalog):
    with catalog.write() as tx:
        job_pk = a_job(tx, state="queued", run=1)

        assert tx.jobs.move(job_pk, JobState.STARTING, run=1, new_run=2)
        assert not tx.jobs.move(job_pk, JobState.RUNNING, run=1)
        assert tx.jobs.move(job_pk, JobState.RUNNING, run=2)


@pytest.mark.parametrize("state", JobState)
def test_only_a_job_that_has_not_ended_is_touched(catalog, state):
    with catalog.write() as tx:
        job_pk = a_job(tx, state=state.value)

        assert tx.jobs.touch(job_pk, done=7) is (state not in TERMINAL_JOB_STATES)
        assert tx.jobs.get(job_pk).done == (0 if state in TERMINAL_JOB_STATES else 7)


def test_needs_are_read_from_both_ends(catalog):
    with catalog.write() as tx:
        a, b = a_job(tx, "j_aaaaaaaaaa"), a_job(tx, "j_bbbbbbbbbb")
        child = a_job(tx, "j_cccccccccc", state="waiting", open_needs=2)
        tx.jobs.add_needs("default", child, [b, a])
        tx.jobs.add_needs("default", a, [])

        assert [j.id for j in tx.jobs.needs_of(child)] == [a, b]
        assert [j.id for j in tx.jobs.dependents_of(a)] == [child]
        assert tx.jobs.needs_of(a) == tx.jobs.dependents_of(child) == []


def test_a_job_is_ready_when_its_last_need_is_met_and_said_so_once(catalog):
    with catalog.write() as tx:
        a, b = a_job(tx, "j_aaaaaaaaaa"), a_job(tx, "j_bbbbbbbbbb")
        both = a_job(tx, "j_cccccccccc", state="waiting", open_needs=2)
        only_a = a_job(tx, "j_dddddddddd", state="waiting", open_needs=1)
        cancelled = a_job(tx, "j_eeeeeeeeee", state="cancelled", open_needs=1)
        tx.jobs.add_needs("default", both, [a, b])
        tx.jobs.add_needs("default", only_a, [a])
        tx.jobs.add_needs("default", cancelled, [a])

        assert tx.jobs.need_met(a) == [only_a]
        tx.jobs.move(only_a, JobState.QUEUED)
        assert tx.jobs.need_met(b) == [both]
        assert tx.jobs.get(both).open_needs == 0
        assert tx.jobs.get(cancelled).open_needs == 1


def test_an_idempotency_key_is_used_once_a_tenant_and_the_transaction_goes_on(catalog):
    with catalog.write() as tx:
        first = tx.submissions.add("default", "key", "a" * 64, 3, NOW)
        second = tx.submissions.add("default", "key", "b" * 64, 1, NOW)
        theirs = tx.submissions.add("theirs", "key", "c" * 64, 1, NOW)
        mine = [a_job(tx, f"j_{n * 10}", submission_pk=first) for n in "cab"]
        a_job(tx, "j_theirsxxxx", submission_pk=theirs)
    with catalog.read() as tx:
        kept = tx.submissions.find("default", "key")
        whole = tx.submissions.jobs(first)
        pages = [tx.submissions.jobs(first, limit=2), tx.submissions.jobs(first, after=mine[1], limit=2)]
        other = tx.submissions.find("default", "other")

    assert (second, other) == (None, None)
    assert len({None, first, theirs}) == 3
    assert (kept.id, kept.body_digest, kept.count) == (first, "a" * 64, 3)
    assert [j.id for j in whole] == mine
    assert pages == [whole[:2], whole[2:]]


def test_a_run_moves_as_its_table_says_and_in_no_other_way(catalog):
    with catalog.write() as tx:
        job_pk = a_job(tx)
        pairs = list(product(RunState, RunState))
        for number, (before, after) in enumerate(pairs, 1):
            tx.runs.open("default", job_pk, number, term=1, now=NOW)
            if before is not RunState.STARTING:
                assert tx.runs.move(job_pk, number, before)

            moved = tx.runs.move(job_pk, number, after, cause="node_lost")

            legal = after in RUN_TRANSITIONS[before]
            assert moved is legal, f"{before} -> {after}"
            assert tx.runs.get(job_pk, number).run_state is (after if legal else before)


def test_runs_are_read_by_number_by_job_and_counted_by_cause(catalog):
    with catalog.write() as tx:
        one, two = a_job(tx, "j_aaaaaaaaaa"), a_job(tx, "j_bbbbbbbbbb")
        for number, (state, cause) in enumerate(
            [("lost", "node_lost"), ("lost", "node_lost"), ("failed", "user_error"), ("running", "node_lost")], 1
        ):
            tx.runs.open("default", one, number, term=4, now=NOW)
            tx.runs.move(one, number, RunState(state), cause=cause, node="n1", worker="w1", started_at=NOW)
        tx.runs.open("default", two, 1, term=5, now=NOW)

        runs = tx.runs.of_jobs([one, two])
        assert [r.number for r in runs[one]] == [1, 2, 3, 4]
        assert [(r.number, r.term, r.state) for r in runs[two]] == [(1, 5, "starting")]
        assert tx.runs.of_jobs([]) == {}
        assert tx.runs.get(one, 9) is None
        assert tx.runs.ended_by_cause(one) == {"node_lost": 2, "user_error": 1}
        assert tx.runs.ended_by_cause(two) == {}


def test_a_job_has_one_run_of_a_number(catalog):
    def open_twice() -> None:
        with catalog.write() as tx:
            job_pk = a_job(tx)
            tx.runs.open("default", job_pk, 1, term=1, now=NOW)
            tx.runs.open("default", job_pk, 1, term=1, now=NOW)

    with pytest.raises(sa.exc.IntegrityError):
        open_twice()


def test_artifacts_are_newest_first_by_kind_and_forgotten_by_key(catalog):
    with catalog.write() as tx:
        job_pk = a_job(tx)
        for step in (100, 200, 300):
            for kind in ("checkpoint", "sheet"):
                row = {"tenant_id": "default", "job_pk": job_pk, "run": 1, "kind": kind, "key": f"{kind}/{step}"}
                tx.artifacts.insert(row | {"sha256": "a" * 64, "size": 2**40, "step": step, "created_at": NOW})

        assert [a.step for a in tx.artifacts.of_job(job_pk, "checkpoint")] == [300, 200, 100]
        assert len(tx.artifacts.of_job(job_pk)) == 6
        tx.artifacts.forget(job_pk, ["checkpoint/100", "checkpoint/200", "nosuch"])
        assert [a.key for a in tx.artifacts.of_job(job_pk, "checkpoint")] == ["checkpoint/300"]
        assert len(tx.artifacts.of_job(job_pk, "sheet")) == 3
        tx.artifacts.forget(job_pk, [])
        assert tx.artifacts.of_job(job_pk)[0].size == 2**40
