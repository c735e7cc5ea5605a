"""Update: a job that has not ended gets another priority."""

from __future__ import annotations

import pytest
from small_platform import TENANT, SmallPlatform, train

from genplatform.domain.keys import JobKey
from genplatform.errors import BadRequest, Conflict, NotFound
from genplatform.services import cancel, pause, update


def test_a_queued_job_moves_in_the_line(p: SmallPlatform) -> None:
    first, second = p.submit(train("a") + "---\n" + train("b"))
    p.queues.take_intake(10)
    assert [p.job(j)["position"] for j in (first, second)] == [1, 2]

    answer = update.update(p.w, TENANT, "b", priority=900)

    assert (answer["id"], answer["priority"]) == (second, 900)
    assert [p.job(j)["position"] for j in (first, second)] == [2, 1]
    assert p.queues.take_intake(10) == [JobKey(TENANT, second)]
    assert [e["data"] for e in p.events(second, "updated")] == [{"priority": 900, "before": 500}]


def test_the_same_priority_again_changes_nothing(p: SmallPlatform) -> None:
    t = p.one(train())

    assert update.update(p.w, TENANT, t, priority=500)["priority"] == 500

    assert p.events(t, "updated") == []


def test_a_job_that_runs_or_is_paused_keeps_its_new_priority_for_later(p: SmallPlatform) -> None:
    running, paused = p.submit(train("a") + "---\n" + train("b"))
    p.open(running)
    pause.pause(p.w, TENANT, paused)

    for job_id in (running, paused):
        before = p.job(job_id)
        assert update.update(p.w, TENANT, job_id, priority=7) == before | {"priority": 7}


def test_what_is_out_of_bounds_has_ended_or_is_nobody_is_refused(p: SmallPlatform) -> None:
    t = p.one(train())
    for priority in (-1, 1001):
        with pytest.raises(BadRequest):
            update.update(p.w, TENANT, t, priority=priority)
    cancel.cancel(p.w, TENANT, t)
    with pytest.raises(Conflict, match="was cancelled already"):
        update.update(p.w, TENANT, t, priority=7)
    with pytest.raises(NotFound):
        update.update(p.w, TENANT, "nobody", priority=7)
    assert p.job(t)["priority"] == 500
