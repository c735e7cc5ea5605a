"""Reports become progress, events and log lines: in batches, once, and whatever stands in them."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from fake_node import DIGEST, TrainNode
from small_platform import TENANT, SmallPlatform, generate, train

from genplatform.domain.times import LEADER_LEASE_SECONDS
from genplatform.errors import BadRequest, LostLeadership, Unauthorized
from genplatform.queues import Reports
from genplatform.services import fold, jobs, nodes
from genplatform.services.verify import verify


def running(p: SmallPlatform, name: str = "t") -> TrainNode:
    node = p.trainer(p.open(p.one(train(name))))
    node.start()
    return node


def folded(p: SmallPlatform) -> int:
    return fold.fold(p.w, p.term())


def progress(done: int, rate: float | None = 2.0) -> dict[str, Any]:
    return {"done": done, "total": 100, "unit": "steps", "rate": rate}


def test_progress_metrics_events_and_lines_reach_the_catalog(on_each: SmallPlatform) -> None:
    p = on_each
    node = running(p)
    node.report(progress=progress(10))
    node.report(progress=progress(20), metrics=[{"step": 20, "time": 5, "values": {"loss": 0.5}}])
    node.report(events=[{"type": "split", "time": 6, "data": {"train": 7}}])
    node.report(logs=[{"seq": 1, "time": 7, "text": "hello"}, {"seq": 2, "time": 8, "text": "world"}])

    assert folded(p) == 4
    assert folded(p) == 0

    shown = p.job("t")["progress"]
    assert shown == {"done": 20, "total": 100, "unit": "steps", "rate": 2.0, "eta_seconds": 40.0}
    (metrics,) = p.events("t", "metrics")
    assert (metrics["time"], metrics["data"]) == (
        "1970-01-01T00:00:05.000Z",
        {"run": 1, "step": 20, "values": {"loss": 0.5}},
    )
    assert p.events("t", "split")[0]["data"] == {"train": 7, "run": 1}
    assert [line["text"] for line in jobs.logs(p.w, TENANT, "t")["lines"]] == ["hello", "world"]


def test_what_came_after_another_leader_folded_the_same_reports_is_not_dropped_unread(p: SmallPlatform) -> None:
    node = running(p)
    node.report(progress=progress(10))
    drop = p.queues.drop_reports

    def late(read: Reports) -> None:
        # The leader is held up behind its commit, until another one leads and has folded them too.
        p.queues.drop_reports = drop  # type: ignore[method-assign]
        p.clock.go(LEADER_LEASE_SECONDS)
        fold.fold(p.w, p.term("another"))
        node.report(progress=progress(20))
        drop(read)

    p.queues.drop_reports = late  # type: ignore[method-assign]
    folded(p)

    fold.fold(p.w, p.term("another"))
    assert p.job("t")["progress"]["done"] == 20


def test_a_line_told_twice_is_kept_once(on_each: SmallPlatform) -> None:
    node = running(on_each)
    for _ in range(2):
        node.report(logs=[{"seq": 1, "time": 7, "text": "hello"}])
        folded(on_each)

    assert len(jobs.logs(on_each.w, TENANT, "t")["lines"]) == 1


def test_what_is_no_number_is_kept_as_a_word_and_no_rate(on_each: SmallPlatform) -> None:
    p = on_each
    node = running(p)
    for rate in (math.nan, math.inf, -math.inf):
        node.report(progress=progress(5, rate), metrics=[{"step": 1, "time": 5, "values": {"loss": rate, "x": None}}])
    folded(p)

    assert p.job("t")["progress"]["rate"] is None
    values = [e["data"]["values"]["loss"] for e in p.events("t", "metrics")]
    assert values == ["nan", "inf", "-inf"]
    json.dumps([p.job("t"), p.events("t")], allow_nan=False)


@pytest.mark.parametrize("time", [math.nan, math.inf, -1.0, 1e300])
def test_a_time_that_is_none_is_refused_where_it_is_said(p: SmallPlatform, time: float) -> None:
    node = running(p)

    for said in (
        {"metrics": [{"step": 1, "time": time, "values": {}}]},
        {"logs": [{"seq": 1, "time": time, "text": ""}]},
        {"events": [{"type": "x", "time": time}]},
    ):
        with pytest.raises(BadRequest, match="time"):
            node.report(**said)


def test_text_that_databases_refuse_is_kept_with_a_mark(on_each: SmallPlatform) -> None:
    node = running(on_each)
    node.report(logs=[{"seq": 1, "time": 7, "text": "a\x00b"}])
    node.report(events=[{"type": "x", "time": 1, "data": {"k": "\x00"}}])

    assert folded(on_each) == 2
    assert jobs.logs(on_each.w, TENANT, "t")["lines"][0]["text"] == "a\\x00b"


def test_a_worker_does_not_say_where_its_job_stands(p: SmallPlatform) -> None:
    node = running(p)
    words = ("succeeded", "queued", "submitted", "retrying")
    node.report(events=[{"type": word, "time": 6, "data": {"state": "failed"}} for word in words])

    folded(p)

    assert p.events("t", *words[1:]) == p.events("t", "submitted")[:1]
    assert len(p.events("t", *(f"worker_{word}" for word in words))) == 4
    assert verify(p.w.catalog) == []


def test_forged_entries_say_nothing_and_hold_nobody_up(on_each: SmallPlatform) -> None:
    p = on_each
    node = running(p)
    mine = {"tenant": TENANT} | node.run
    line = {"seq": 1, "time": 1, "text": "forged"}
    forged: list[dict[str, Any]] = [
        {},
        {"tenant": TENANT, "job_id": 7, "run": "x"},
        {"tenant": TENANT, "job_id": "j_2222222222", "run": 1, "logs": [line]},
        {"tenant": "other"} | node.run | {"logs": [line]},
        mine | {"run": 2, "logs": [line]},  # a Run that never was
        mine | {"run": 2**40, "logs": [line]},  # more than the column holds
        mine | {"run": 0, "logs": [line]},
        mine | {"progress": {"done": -1, "total": 1, "unit": "x"}},
    ]
    p.queues.report(forged)
    node.report(progress=progress(30))

    assert folded(p) == len(forged) + 1
    assert p.job("t")["progress"]["done"] == 30
    assert jobs.logs(p.w, TENANT, "t")["lines"] == []


def test_a_zombies_progress_is_not_shown_and_its_last_words_are(p: SmallPlatform) -> None:
    zombie = running(p)
    p.lose(p.row(zombie.run["job_id"]).job_id)
    p.open(zombie.run["job_id"])
    zombie.report(progress=progress(99), logs=[{"seq": 1, "time": 1, "text": "Killed"}])
    folded(p)

    assert p.job("t")["progress"]["done"] == 0
    assert [(li["run"], li["text"]) for li in jobs.logs(p.w, TENANT, "t")["lines"]] == [(1, "Killed")]


def test_what_a_generate_job_has_done_is_what_it_published(p: SmallPlatform) -> None:
    g, node = p.generating(generate("g"))
    node.work(most=1)

    p.queues.report([{"tenant": TENANT, "job_id": g, "run": 1, "progress": progress(7)}])
    folded(p)

    assert (p.row(g).done, p.row(g).total) == (64, 192)


def test_only_a_runs_own_token_reports_on_it(p: SmallPlatform) -> None:
    g, node = p.generating(generate("g"))

    with pytest.raises(Unauthorized):
        nodes.progress(p.w, node.grant, {"job_id": g, "run": 1, "progress": progress(7)})


def test_a_term_that_is_over_folds_nothing_and_drops_nothing(p: SmallPlatform) -> None:
    node = running(p)
    node.report(progress=progress(10))
    old = p.term()
    p.clock.go(6)
    term = p.term("new")

    with pytest.raises(LostLeadership):
        fold.fold(p.w, old)

    assert fold.fold(p.w, term) == 1
    assert p.job("t")["progress"]["done"] == 10


def test_a_checkpoint_told_twice_is_one(p: SmallPlatform) -> None:
    node = running(p)
    for step in (10, 10, 20, 20):
        node.checkpoint(step)

    found = jobs.artifacts(p.w, TENANT, "t")["artifacts"]

    assert [(a["kind"], a["step"], a["sha256"]) for a in found] == [
        ("checkpoint", 20, DIGEST),
        ("checkpoint", 10, DIGEST),
    ]
    assert len(p.events("t", "checkpoint")) == 2


def test_only_so_many_checkpoints_are_kept_as_the_spec_says(p: SmallPlatform) -> None:
    node = p.trainer(p.open(p.one(train("t", "checkpoint: {every: 10, keep: 2}\n"))))
    for step in (10, 20, 30):
        node.checkpoint(step)

    assert [a["step"] for a in jobs.artifacts(p.w, TENANT, "t")["artifacts"]] == [30, 20]


def test_the_best_checkpoint_is_kept_beside_the_newest_until_a_better_one_comes(p: SmallPlatform) -> None:
    run = p.open(p.one(train("t", "checkpoint: {every: 10, keep: 1, best: loss}\n")))
    node = p.trainer(run)
    for step in (10, 20, 30):
        node.checkpoint(step)
        if step < 30:
            node.best_checkpoint(step)

    found = jobs.artifacts(p.w, TENANT, "t")["artifacts"]

    assert [(a["kind"], a["step"]) for a in found] == [("checkpoint", 30), ("best_checkpoint", 20)]


def test_a_run_that_goes_on_is_told_of_the_best_checkpoint(p: SmallPlatform) -> None:
    t = p.one(train("t", "checkpoint: {best: loss}\noptimization: {precision: bf16}\n"))
    node = p.trainer(p.open(t))
    assert (node.order["best"], node.order["optimization"]["precision"]) == (None, "bf16")
    node.checkpoint(10)
    key = node.best_checkpoint(10)
    p.lose(t)

    order = p.open(t).order

    assert order["best"] == {"key": key, "sha256": DIGEST, "step": 10}
    assert [saved["step"] for saved in order["resume"]] == [10]


@pytest.mark.parametrize("key", ["models/default/x", "jobs/other/j_2222222222/checkpoints/x", "jobs/default/../x"])
def test_an_artifact_lies_with_its_own_job(p: SmallPlatform, key: str) -> None:
    node = running(p)

    with pytest.raises(BadRequest):
        nodes.artifact(
            p.w, node.grant, node.run | {"kind": "sheet", "key": key, "sha256": DIGEST, "size": 1, "step": 1}
        )
    assert jobs.artifacts(p.w, TENANT, "t")["artifacts"] == []
