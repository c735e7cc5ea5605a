"""The end of a generate job: one manifest of all shards, written by whoever leads, and nothing else left behind."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from small_platform import TENANT, SmallPlatform, generate

from genplatform.catalog import JobRow
from genplatform.domain import layout
from genplatform.domain.keys import ClaimKey
from genplatform.domain.retry import Cause
from genplatform.errors import LostLeadership, Unavailable
from genplatform.services import cancel, finish, jobs, outputs
from genplatform.store import Store, Stored


def done(p: SmallPlatform) -> tuple[str, JobRow]:
    g, node = p.generating(generate("g", count=150))
    node.work()
    return g, p.row(g)


def files(p: SmallPlatform, job: JobRow) -> set[str]:
    folder = layout.outputs(job.key)
    return {key.removeprefix(f"{folder}/").split("/")[0] for key in p.w.store.list(folder)}


def test_the_manifest_is_the_shards_in_order(p: SmallPlatform) -> None:
    g, job = done(p)

    assert finish.finish(p.w, p.term(), [job])

    assert p.state(g) == "succeeded"
    whole = p.w.store.read_bytes(f"{layout.outputs(job.key)}/{layout.MANIFEST}")
    lines = [json.loads(line) for line in whole.splitlines()]
    assert [line["index"] for line in lines] == list(range(150))
    assert {line["path"].split("/")[0] for line in lines} == {f"shard-{n:06d}.r1.c1" for n in range(3)}
    (artifact,) = jobs.artifacts(p.w, TENANT, g)["artifacts"]
    assert (artifact["kind"], artifact["sha256"]) == ("manifest", hashlib.sha256(whole).hexdigest())
    assert p.job(g)["runs"][0]["state"] == "succeeded"


def test_it_is_done_once_whoever_does_it(p: SmallPlatform) -> None:
    g, job = done(p)

    assert [finish.finish(p.w, p.term(), [job]) for _ in range(3)] == [True, False, False]
    assert len(jobs.artifacts(p.w, TENANT, g)["artifacts"]) == 1


def test_several_end_together_and_one_that_cannot_holds_up_none(
    p: SmallPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs_ = []
    for number in range(4):
        g, node = p.generating(generate(f"g{number}", count=70))
        node.work()
        jobs_.append(p.row(g))
    write = Store.put_file

    def full(store: Store, path: Path, key: str) -> Stored:
        if jobs_[1].job_id in key:
            raise Unavailable("The disk is full.")
        return write(store, path, key)

    with monkeypatch.context() as broken:
        broken.setattr(Store, "put_file", full)
        with pytest.raises(Unavailable, match="full"):
            finish.finish(p.w, p.term(), jobs_)
    states = [p.state(job.job_id) for job in jobs_]

    assert states == ["succeeded", "running", "succeeded", "succeeded"]
    assert finish.finish(p.w, p.term(), jobs_) == 1
    for job in jobs_:
        whole = p.w.store.read_bytes(f"{layout.outputs(job.key)}/{layout.MANIFEST}")
        assert [json.loads(line)["index"] for line in whole.splitlines()] == list(range(70))


def test_a_dispatcher_that_lost_the_lead_ends_nothing(p: SmallPlatform) -> None:
    g, job = done(p)
    old = p.term()
    p.clock.go(6)
    term = p.term("new")

    with pytest.raises(LostLeadership):
        finish.finish(p.w, old, [job])
    assert p.state(g) == "running"

    assert finish.finish(p.w, term, [job])


def test_a_job_with_a_shard_to_go_is_not_finished(p: SmallPlatform) -> None:
    g, node = p.generating()
    node.work(most=2)

    assert not finish.finish(p.w, p.term(), [p.row(g)])
    assert p.state(g) == "running"


def test_a_cancelled_job_is_not_finished(p: SmallPlatform) -> None:
    g, job = done(p)
    cancel.cancel(p.w, TENANT, g)

    assert not finish.finish(p.w, p.term(), [job])
    assert not finish.finish(p.w, p.term(), [p.row(g)])
    assert p.state(g) == "cancelling"


def test_a_job_that_was_complete_when_its_run_was_closed_is_finished_in_the_next(p: SmallPlatform) -> None:
    g, _ = done(p)
    p.lose(g, Cause.SHUTDOWN)
    p.open(g)

    assert finish.finish(p.w, p.term(), [p.row(g)])
    assert p.state(g) == "succeeded"


def test_a_published_manifest_that_is_torn_fails_the_job_and_says_so(p: SmallPlatform) -> None:
    g, job = done(p)
    key = f"{layout.outputs(job.key)}/shard-000001.r1.c1/{layout.MANIFEST}"
    p.w.store.remove(key)
    p.w.store.put_bytes(key, b"{}\n")

    assert not finish.finish(p.w, p.term(), [job])

    assert p.state(g) == "failed"
    error = p.job(g)["error"]
    assert error["code"] == "outputs_lost"
    assert "shard 1" in error["message"]


def test_a_published_manifest_that_is_gone_fails_the_job_and_says_so(p: SmallPlatform) -> None:
    g, job = done(p)
    p.w.store.remove(f"{layout.outputs(job.key)}/shard-000002.r1.c1")

    assert not finish.finish(p.w, p.term(), [job])

    assert (p.state(g), p.job(g)["error"]["code"]) == ("failed", "outputs_lost")


def test_leftovers_of_lost_claims_are_swept_and_what_was_published_stays(p: SmallPlatform) -> None:
    g, node = p.generating(generate("g", count=128))
    (lost,) = node.claim()
    node.store(lost)
    p.lose_claims(ClaimKey(TENANT, g, 1, 0, 1))
    node.work()
    finish.finish(p.w, p.term(), [p.row(g)])
    job = p.row(g)
    assert finish.leftovers(p.w, job.id, job.key) == [f"{layout.outputs(job.key)}/shard-000000.r1.c1"]

    assert finish.sweep(p.w, job.id, job.key) == 1

    assert files(p, job) == {"shard-000000.r1.c2", "shard-000001.r1.c1", layout.MANIFEST}
    assert finish.sweep(p.w, job.id, job.key) == 0
    assert outputs.content(p.w, TENANT, g, 0)[1] == "image/png"


def test_nothing_is_swept_while_a_run_may_still_publish(p: SmallPlatform) -> None:
    g, node = p.generating()
    before = p.row(g)
    (order,) = node.claim()
    said = node.store(order)

    for _ in range(2):  # as it is, and from a look at it before its next Run opened
        assert finish.sweep(p.w, p.row(g).id, p.row(g).key) is None
        assert finish.sweep(p.w, before.id, before.key) is None
        p.lose(g, Cause.SHUTDOWN)
        node = p.worker(p.open(g))
        (order,) = node.claim()
        said = node.store(order)

    assert node.tell([said])[0]["published"]


def test_all_of_a_job_that_failed_before_it_published_goes(p: SmallPlatform) -> None:
    g, node = p.generating()
    (order,) = node.claim()
    node.store(order)
    node.fail(order)

    assert finish.sweep(p.w, p.row(g).id, p.row(g).key) == 1
    assert files(p, p.row(g)) == set()
