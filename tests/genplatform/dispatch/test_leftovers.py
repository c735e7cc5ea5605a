"""Files that no row refers to go, so many at a time, whoever led when their jobs ended."""

from __future__ import annotations

import pytest
from dispatched import Dispatched
from small_platform import TENANT, generate

from genplatform.dispatch import leftovers as sweeping
from genplatform.dispatch.leftovers import LOOK_BACK, OUTPUTS_AFTER, Leftovers
from genplatform.domain import layout
from genplatform.domain.keys import ClaimKey, JobKey
from genplatform.errors import BadRequest
from genplatform.services import cancel


def with_a_lost_claim(d: Dispatched, name: str) -> str:
    """Leave the files of a claim that was lost behind, and end the job; return its id."""
    g, node = d.generating(generate(name))
    (lost,) = node.claim()
    node.store(lost)
    d.lose_claims(ClaimKey(TENANT, g, 1, 0, 1))
    cancel.cancel(d.w, TENANT, g)
    d.lose(g)
    assert d.state(g) == "cancelled"
    return g


def files(d: Dispatched, job_id: str) -> list[str]:
    return list(d.w.store.list(layout.outputs(JobKey(TENANT, job_id))))


def ready(d: Dispatched) -> Leftovers:
    made = Leftovers(d.w)
    made.take_over()
    d.clock.go(OUTPUTS_AFTER + 1)
    return made


def test_those_that_ended_before_are_swept_so_many_at_a_time(d: Dispatched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "MOST_LISTED", 2)
    ids = [with_a_lost_claim(d, f"g{n}") for n in range(5)]
    swept = ready(d)

    left = []
    for _ in range(4):
        swept.sweep()
        left.append(sum(bool(files(d, job_id)) for job_id in ids))

    assert left == [3, 1, 0, 0]


def test_a_sweep_passes_no_more_ended_jobs_than_it_may(d: Dispatched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "MOST_PASSED", 3)
    for _ in range(3):
        cancel.cancel(d.w, TENANT, d.one(generate()))
    g = with_a_lost_claim(d, "g")
    swept = ready(d)

    swept.sweep()
    before = files(d, g)
    swept.sweep()

    assert before
    assert files(d, g) == []


def test_nothing_is_swept_while_somebody_may_still_write(d: Dispatched) -> None:
    swept = Leftovers(d.w)
    swept.take_over()
    g = with_a_lost_claim(d, "g")
    d.clock.go(OUTPUTS_AFTER - 1)
    swept.sweep()
    before = files(d, g)

    d.clock.go(2)
    swept.sweep()

    assert before
    assert files(d, g) == []


def test_what_ended_long_ago_was_swept_long_ago(d: Dispatched) -> None:
    g = with_a_lost_claim(d, "g")
    d.clock.go(LOOK_BACK + 1)

    ready(d).sweep()

    assert files(d, g)


def test_one_that_cannot_be_swept_keeps_no_other(d: Dispatched, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = with_a_lost_claim(d, "a"), with_a_lost_claim(d, "b")
    swept, remove = ready(d), d.w.store.remove

    def refuse_the_first(name: str) -> None:
        if first in name:
            raise BadRequest("Not this one.")
        remove(name)

    monkeypatch.setattr(d.w.store, "remove", refuse_the_first)
    swept.sweep()

    assert (bool(files(d, first)), files(d, second)) == (True, [])


def test_only_jobs_whose_claims_were_lost_are_looked_at(d: Dispatched) -> None:
    clean, node = d.generating(generate("clean"))
    node.work()
    made_up, node = d.generating(generate("made-up"))
    assert node.claim()
    d.lose_claims(ClaimKey(TENANT, made_up, 1, 0, 1))
    node.work()
    ended, node = d.generating(generate("ended"))
    assert node.claim()

    with d.w.catalog.read() as tx:
        found = tx.shards.with_lost_claims([d.row(job_id).id for job_id in (clean, made_up, ended)])

    assert found == {d.row(made_up).id, d.row(ended).id}
