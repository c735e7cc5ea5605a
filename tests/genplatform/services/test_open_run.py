"""A Run opens for a queued job alone, under a number that rises, by the dispatcher that leads."""

from __future__ import annotations

import pytest
from fake_node import node_secret
from small_platform import API_URL, TENANT, CutQueues, SmallPlatform, generate, train
from together import together

from genplatform.domain.keys import JobKey, RunKey
from genplatform.domain.retry import Cause
from genplatform.domain.tokens import PoolGrant, RunGrant, verify
from genplatform.errors import LostLeadership
from genplatform.services import cancel, leadership, runs


def test_a_train_run_gets_its_order_and_a_lease(p: SmallPlatform) -> None:
    t = p.one(train("t", "seed: 5\n"))

    opened = p.open(t)

    assert opened.key == RunKey(TENANT, t, 1)
    assert (opened.pool, opened.workers) == (None, 1)
    order = opened.order
    assert verify(node_secret(p.w), order["token"]) == RunGrant(TENANT, t, 1)
    assert (order["actor"], order["seed"], order["publish"], order["resume"]) == (f"run/{TENANT}/{t}/1", 5, "t", [])
    assert (order["budget"], order["api_url"]) == ({"steps": 100, "epochs": None}, API_URL)
    assert p.state(t) == "starting"
    assert p.queues.missing([opened.key]) == []


def test_a_generate_run_plans_its_shards_and_offers_them_to_the_pool(p: SmallPlatform) -> None:
    g = p.one(generate(count=150))

    opened = p.open(g, workers=2)

    assert opened.pool is not None
    assert verify(node_secret(p.w), opened.order["token"]) == PoolGrant(TENANT, opened.pool)
    assert [(s.start, s.count, s.state) for s in p.shards(g)] == [
        (0, 64, "pending"),
        (64, 64, "pending"),
        (128, 22, "pending"),
    ]
    assert p.queues.offered(opened.pool) == 3


def test_jobs_of_one_model_share_a_pool_and_tenants_do_not(p: SmallPlatform) -> None:
    a, b = p.submit(generate("a") + "---\n" + generate("b"))

    assert p.open(a).pool == p.open(b).pool


def test_numbers_rise_with_each_run(p: SmallPlatform) -> None:
    t = p.one(train())
    for number in (1, 2, 3):
        assert p.open(t).key.run == number
        p.lose(t, Cause.SHUTDOWN)

    assert [r["number"] for r in p.job(t)["runs"]] == [1, 2, 3]


def test_a_run_goes_on_from_the_newest_checkpoint(p: SmallPlatform) -> None:
    t = p.one(train())
    node = p.trainer(p.open(t))
    keys = [node.checkpoint(step) for step in (10, 20)]
    p.lose(t)

    resume = p.open(t).order["resume"]

    assert [(c["key"], c["step"]) for c in resume] == [(keys[1], 20), (keys[0], 10)]


def test_only_a_queued_job_gets_a_run(p: SmallPlatform) -> None:
    waiting = p.submit(train("a") + "---\n" + train("b", "needs: [a]\n"))[1]
    started = p.one(train("s"))
    p.open(started)
    cancelled = p.one(train("c"))
    cancel.cancel(p.w, TENANT, cancelled)

    for job_id in (waiting, started, cancelled, "j_2222222222"):
        assert runs.open_run(p.w, p.term(), JobKey(TENANT, job_id), workers=1, api_url="") is None


def test_a_term_that_is_over_opens_nothing(p: SmallPlatform) -> None:
    t = p.one(train())
    old = p.term("old")
    p.clock.go(6)
    assert leadership.lead(p.w, "new") == old + 1

    with pytest.raises(LostLeadership):
        runs.open_run(p.w, old, JobKey(TENANT, t), workers=1, api_url="")

    assert (p.state(t), p.job(t)["runs"]) == ("queued", [])
    assert p.queues.missing([RunKey(TENANT, t, 1)]) == [RunKey(TENANT, t, 1)]


def test_of_many_that_open_a_run_one_does(on_each: SmallPlatform) -> None:
    t = on_each.one(train())
    term = on_each.term()
    key = JobKey(TENANT, t)

    opened = together([lambda: runs.open_run(on_each.w, term, key, workers=1, api_url="") for _ in range(6)])

    assert len([o for o in opened if o is not None]) == 1
    assert on_each.row(t).run == 1


def test_a_stop_left_over_from_a_drain_does_not_stop_the_next_run(p: SmallPlatform) -> None:
    t = p.one(train())
    p.open(t)
    p.queues.flag_stop(JobKey(TENANT, t), "shutdown")
    p.lose(t, Cause.SHUTDOWN)

    node = p.trainer(p.open(t))
    node.start()

    assert node.heartbeat() == []


def test_redis_hears_of_a_run_only_once_it_is_committed(p: SmallPlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    t, g = p.submit(train("t") + "---\n" + generate("g", model="t@7", more="needs: [t]\n"))
    p.one(generate("after", more="needs: [g]\n"))
    p.trainer(p.open(t)).publish()
    seen: list[str] = []
    clear = CutQueues.clear_stop

    def heard(queues: CutQueues, job: JobKey) -> None:
        seen.append(p.state(g))  # as another connection sees it at this moment
        clear(queues, job)

    monkeypatch.setattr(CutQueues, "clear_stop", heard)
    runs.open_run(p.w, p.term(), JobKey(TENANT, g), workers=1, api_url="")

    assert set(seen) == {"failed"}
