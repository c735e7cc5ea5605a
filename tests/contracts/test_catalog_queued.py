"""The queued jobs as a line: added up and read in spans, counted, told why they wait."""

from __future__ import annotations

import sqlalchemy as sa
from records import NOW, a_job

from genplatform.catalog import SPAN, Catalog, SpanSum, Standing
from genplatform.domain.job import Reason
from genplatform.domain.states import JobState

WAITS = Reason("behind_others", "Other jobs are ahead of it.")


def name(n: int) -> str:
    return f"j_{n:010d}".replace("1", "a").replace("0", "b")


def test_spans_add_up_what_is_queued_of_every_tenant_and_nothing_else(catalog):
    with catalog.write() as tx:
        for pk, state in [(1, "queued"), (7, "failed"), (SPAN - 1, "queued"), (SPAN, "queued"), (5 * SPAN, "waiting")]:
            a_job(tx, name(pk), id=pk, state=state, priority=pk % 1000, tenant_id="theirs" if pk == SPAN else "default")

        spans = tx.queued.spans()

    first = SpanSum().plus(1, 1).plus(SPAN - 1, (SPAN - 1) % 1000)
    assert spans == {0: first, 1: SpanSum().plus(0, SPAN % 1000)}
    assert first.plus(9, 500).plus(9, 500, -1) == first


def test_sets_of_jobs_that_differ_add_up_to_something_else(catalog):
    with catalog.write() as tx:
        pks = [a_job(tx, name(n), id=100 + n) for n in range(6)]
        seen = []
        for away in ([0, 5], [1, 4], [2, 3]):  # of each pair the keys have one sum
            tx.jobs._db.execute(sa.text("UPDATE jobs SET state = 'queued'"))
            for n in away:
                assert tx.jobs.move(pks[n], JobState.PAUSED)
            seen.append(tx.queued.spans()[0])
        tx.jobs.touch(pks[0], priority=501)
        seen.append(tx.queued.spans()[0])

    assert len(set(seen)) == 4


def test_a_span_is_read_whole_in_order_with_what_a_decision_asks_for(catalog):
    resources = {"workers": "1..4", "cpus_per_worker": 0.5}
    with catalog.write() as tx:
        a_job(tx, name(1), id=SPAN - 1)
        a_job(tx, name(2), id=3 * SPAN - 1, reason_code="behind_others", reason_message="Wait.")
        a_job(tx, name(3), id=SPAN, tenant_id="theirs", priority=900, spec={"resources": resources})
        a_job(tx, name(4), id=SPAN + 1, state="paused")
        a_job(tx, name(5), id=3 * SPAN)

        rows = tx.queued.within(1, 2)

    assert [row.id for row in rows] == [SPAN, 3 * SPAN - 1]
    assert (str(rows[0].key), rows[0].priority, rows[0].resources) == (f"theirs/{name(3)}", 900, resources)
    assert (rows[0].reason, rows[1].reason, rows[1].resources) == (None, Reason("behind_others", "Wait."), None)


def test_of_ids_only_the_tenants_queued_ones_are_returned(catalog):
    with catalog.write() as tx:
        first = a_job(tx, name(1))
        a_job(tx, name(2), state="running")
        a_job(tx, name(3), tenant_id="theirs")
        last = a_job(tx, name(4))

        rows = tx.queued.by_ids("default", [name(n) for n in (4, 3, 2, 1, 9)])

        assert [row.id for row in rows] == [first, last]
        assert tx.queued.by_ids("default", []) == []


def test_ahead_of_a_job_are_those_of_its_tenant_with_a_higher_priority_or_an_earlier_submit(catalog):
    with catalog.write() as tx:
        pks = [a_job(tx, name(n), priority=p) for n, p in enumerate([500, 900, 500, 100, 500])]
        a_job(tx, name(7), tenant_id="theirs", priority=1000)
        a_job(tx, name(8), state="running", priority=1000)

        ahead = [tx.queued.ahead_of(tx.jobs.get(pk)) for pk in pks]

    assert ahead == [1, 0, 2, 4, 3]


def test_reasons_are_noted_of_those_that_are_queued_still(catalog):
    with catalog.write() as tx:
        queued, started = a_job(tx, name(1)), a_job(tx, name(2), state="running")

        assert tx.queued.note(WAITS, [queued, started, 999]) == {queued}
        assert tx.queued.note(WAITS, []) == set()

        assert tx.jobs.get(queued).reason == WAITS
        assert tx.jobs.get(started).reason is None


def test_a_row_that_somebody_holds_is_not_waited_for(postgres_url):
    catalog = Catalog(postgres_url)
    with catalog.write() as tx:
        held, free = a_job(tx, name(1)), a_job(tx, name(2))

    with catalog.write() as holder, catalog.write() as tx:
        assert holder.jobs.by_id("default", name(1), lock=True)
        noted = tx.queued.note(WAITS, [held, free])

    with catalog.read() as tx:
        assert (tx.jobs.get(held).reason, tx.jobs.get(free).reason) == (None, WAITS)
    catalog.close()
    assert noted == {free}


def test_what_stands_in_each_queue_and_since_when(catalog):
    with catalog.write() as tx:
        for n, (queue, state) in enumerate(
            [("b", "running"), ("a", "queued"), ("b", "queued"), ("a", "queued"), ("b", "failed"), ("c", "waiting")]
        ):
            a_job(tx, name(n), queue=queue, state=state, created_at=NOW + n)

        assert sorted(tx.jobs.standing(), key=lambda one: (one.queue, one.state)) == [
            Standing("a", "queued", 2, NOW + 1),
            Standing("b", "queued", 1, NOW + 2),
            Standing("b", "running", 1, NOW),
            Standing("c", "waiting", 1, NOW + 5),
        ]
        assert tx.jobs.counts() == {"queued": 3, "running": 1, "waiting": 1}


def test_jobs_that_ended_are_gone_through_in_the_order_of_their_ends(catalog):
    with catalog.write() as tx:
        ends = [NOW + 5, NOW + 3, NOW + 3, None, NOW + 9, NOW + 1]
        for n, at in enumerate(ends, 1):
            state = "succeeded" if at else "running"
            a_job(tx, name(n), id=n, state=state, finished_at=at, tenant_id="theirs" if n == 1 else "default")

        found, after = [], (NOW + 2, 0)
        while page := tx.jobs.ended(after, NOW + 6, limit=2):
            found += [row.id for row in page]
            after = (page[-1].finished_at, page[-1].id)

    assert found == [2, 3, 1]
