"""Retry: an ended job is done again as a new one, with those that were cancelled because of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from small_platform import TENANT, SmallPlatform, generate, train

from genplatform.domain.keys import JobKey
from genplatform.domain.times import rfc3339
from genplatform.errors import BadRequest, Conflict, NotFound
from genplatform.services import cancel, pause, retry


def again(p: SmallPlatform, ref: str, key: str | None = None) -> list[dict[str, Any]]:
    return list(retry.retry(p.w, TENANT, ref, key=key)["jobs"])


def failed(p: SmallPlatform, text: str = "") -> str:
    t = p.one(text or train("t"))
    p.trainer(p.open(t)).fail()
    return t


def test_a_failed_job_is_done_again_as_a_new_one(p: SmallPlatform) -> None:
    old = p.one(train("t", "priority: 700\nlabels: {team: a}\nqueue: slow\n"))
    p.trainer(p.open(old)).fail()
    p.queues.take_intake(10)

    (new,) = again(p, "t")

    assert (new["state"], new["retry_of"], new["runs"], new["error"]) == ("queued", old, [], None)
    before = p.job(old)
    for kept in ("name", "kind", "queue", "priority", "labels"):
        assert new[kept] == before[kept]
    assert p.row(new["id"]).spec == p.row(old).spec
    assert (before["state"], before["retry_of"]) == ("failed", None)
    assert p.events(old, "retried")[0]["data"] == {"job": new["id"]}
    assert p.events(new["id"])[0]["data"] == {"state": "queued", "retry_of": old}
    assert p.queues.take_intake(10) == [JobKey(TENANT, new["id"])]
    assert p.trainer(p.open(new["id"])).publish() == "t@1"


def test_a_training_goes_on_from_the_checkpoints_of_those_before_it(p: SmallPlatform) -> None:
    first = p.one(train("t"))
    node = p.trainer(p.open(first))
    old = [node.checkpoint(step) for step in (10, 20)]
    node.fail()
    (second,) = again(p, first)
    opened = p.open(second["id"])
    assert [c["key"] for c in opened.order["resume"]] == old[::-1]
    node = p.trainer(opened)
    newer = node.checkpoint(30)
    node.fail()

    (third,) = again(p, second["id"])

    assert [c["key"] for c in p.open(third["id"]).order["resume"]] == [newer, *old[::-1]]
    with p.w.catalog.read() as tx:
        assert [a.key for a in tx.artifacts.of_job(p.row(first).id)] == old[::-1]


def test_a_generate_job_makes_its_items_anew_of_the_same_model(p: SmallPlatform) -> None:
    p.trained("m")
    g, worker = p.generating(generate("g", model="m"))
    assert worker.work(most=1) == 1
    cancel.cancel(p.w, TENANT, g)
    p.lose(g)
    p.trained("m", model={"digest": "e" * 64})

    (new,) = again(p, g)

    assert (new["model"], new["outputs"]["count"]) == ("m@1", 0)
    assert p.worker(p.open(new["id"])).work() == 3
    assert p.job(g)["outputs"]["count"] == 64


def test_what_was_cancelled_because_of_it_is_done_again_with_it(p: SmallPlatform) -> None:
    other = p.one(train("other"))
    a = p.one(train("a"))
    b = p.one(train("b", "needs: [a, other]\n"))
    c = p.one(generate("c", model="b", more="needs: [b]\n"))
    by_hand = p.one(train("d", "needs: [a]\n"))
    cancel.cancel(p.w, TENANT, by_hand)
    p.trainer(p.open(a)).fail()
    assert [p.state(j) for j in (a, b, c)] == ["failed", "cancelled", "cancelled"]

    new = again(p, a)

    assert [(j["name"], j["retry_of"], j["state"]) for j in new] == [
        ("a", a, "queued"),
        ("b", b, "waiting"),
        ("c", c, "waiting"),
    ]
    assert new[1]["reason"]["message"] == "It waits for other, a."
    p.trainer(p.open(new[0]["id"])).publish()
    assert p.state("b") == "waiting"
    p.trainer(p.open(other)).publish()
    assert p.state("b") == "queued"
    p.trainer(p.open(new[1]["id"])).publish()
    assert p.state("c") == "queued"
    assert p.worker(p.open(new[2]["id"])).work() == 3
    assert p.job("c")["model"] == "b@1"


def test_what_needs_another_ended_job_too_waits_for_that_ones_retry(p: SmallPlatform) -> None:
    a, b = p.submit(train("a") + "---\n" + train("b"))
    c = p.one(train("c", "needs: [a, b]\n"))
    for job_id in (a, b):
        p.trainer(p.open(job_id)).fail()

    first = again(p, a)
    second = again(p, b)

    assert [j["name"] for j in first] == ["a"]
    assert [(j["name"], j["retry_of"]) for j in second] == [("b", b), ("c", c)]
    for job_id in (first[0]["id"], second[0]["id"]):
        assert p.state("c") == "waiting"
        p.trainer(p.open(job_id)).publish()
    assert p.state("c") == "queued"


def test_what_was_done_again_once_is_done_again_as_it_stands_now(p: SmallPlatform) -> None:
    a, b = p.submit(train("a") + "---\n" + train("b"))
    c = p.one(train("c", "needs: [a, b]\n"))
    p.trainer(p.open(b)).fail()
    new_b, new_c = again(p, b)
    assert new_c["retry_of"] == c
    p.trainer(p.open(a)).fail()
    assert p.state(new_c["id"]) == "cancelled"

    made = again(p, a)

    assert [(j["name"], j["retry_of"]) for j in made] == [("a", a), ("c", new_c["id"])]
    for job_id in (made[0]["id"], new_b["id"]):
        p.trainer(p.open(job_id)).publish()
    assert p.state(made[1]["id"]) == "queued"


def test_a_job_whose_need_ended_is_refused_with_the_one_to_retry(p: SmallPlatform) -> None:
    a = p.one(train("a"))
    b = p.one(train("b", "needs: [a]\n"))
    p.trainer(p.open(a)).fail()

    with pytest.raises(Conflict, match=f"needs {a} .a., which has failed") as refused:
        again(p, b)

    assert f"genctl retry {a}" in refused.value.hint
    assert len(again(p, a)) == 2
    assert [j["state"] for j in again(p, b)] == ["waiting"]


def test_a_job_of_an_older_need_needs_that_ones_retry(p: SmallPlatform) -> None:
    a = p.one(train("a"))
    b = p.one(train("b", "needs: [a]\n"))
    cancel.cancel(p.w, TENANT, b)
    p.trainer(p.open(a)).fail()
    (new_a,) = again(p, a)

    (new_b,) = again(p, b)

    assert new_b["state"] == "waiting"
    p.trainer(p.open(new_a["id"])).publish()
    assert p.state(new_b["id"]) == "queued"


def test_a_job_that_backs_off_goes_on_now(p: SmallPlatform) -> None:
    t = p.one(train())
    for _ in range(2):
        p.open(t)
        p.lose(t)
    assert p.reason(t) == "backing_off"
    p.queues.take_intake(10)

    (job,) = again(p, t)

    assert (job["id"], job["state"], job["reason"]) == (t, "queued", None)
    assert p.queues.take_intake(10) == [JobKey(TENANT, t)]
    assert p.open(t).key.run == 3


def test_a_retry_that_is_open_is_the_answer_and_one_that_failed_is_retried_in_its_turn(p: SmallPlatform) -> None:
    old = failed(p)
    (first,) = again(p, old)

    assert [again(p, ref)[0]["id"] for ref in (old, "t", first["id"])] == [first["id"]] * 3

    p.trainer(p.open(first["id"])).fail()
    (second,) = again(p, old)
    assert second["retry_of"] == first["id"]
    p.trainer(p.open(second["id"])).publish()
    with pytest.raises(Conflict, match=f"{second['id']} .t. has succeeded already"):
        again(p, old)


def _queued(p: SmallPlatform) -> str:
    return p.one(train("x"))


def _waiting(p: SmallPlatform) -> str:
    p.one(train("x"))
    return p.one(train("y", "needs: [x]\n"))


def _running(p: SmallPlatform) -> str:
    t = p.one(train("x"))
    p.trainer(p.open(t)).start()
    return t


def _paused(p: SmallPlatform) -> str:
    t = p.one(train("x"))
    pause.pause(p.w, TENANT, t)
    return t


def _cancelling(p: SmallPlatform) -> str:
    t = _running(p)
    cancel.cancel(p.w, TENANT, t)
    return t


@pytest.mark.parametrize(
    ("make", "words", "hint"),
    [
        (_queued, "is queued", "genctl watch"),
        (_waiting, "is waiting", "genctl watch"),
        (_running, "is running", "genctl watch"),
        (_paused, "is paused", "genctl resume"),
        (_cancelling, "is being cancelled", "genctl wait"),
        (lambda p: p.trained("s"), "has succeeded already", "submit"),
    ],
)
def test_what_has_not_ended_or_has_succeeded_is_not_retried(
    p: SmallPlatform, make: Callable[[SmallPlatform], str], words: str, hint: str
) -> None:
    job_id = make(p)
    before = p.job(job_id)

    with pytest.raises(Conflict, match=words) as refused:
        again(p, job_id)

    assert hint in refused.value.hint
    assert p.job(job_id) == before


def test_a_deadline_counts_from_the_retry_and_one_that_has_passed_is_refused(p: SmallPlatform) -> None:
    for_so_long = failed(p, train("a", "deadline: 1h\n"))
    by = failed(p, train("b", f"deadline: {rfc3339(p.clock() + 3600)}\n"))
    p.clock.go(1800)

    (new,) = again(p, for_so_long)
    (in_time,) = again(p, by)

    assert p.row(new["id"]).deadline_at == p.clock() + 3600
    assert p.row(in_time["id"]).deadline_at == p.clock() + 1800
    p.trainer(p.open(in_time["id"])).fail()
    p.clock.go(1800)
    with pytest.raises(Conflict, match="which has passed"):
        again(p, by)


def test_a_retry_that_waits_for_its_next_try_goes_on_when_the_ended_one_is_retried(p: SmallPlatform) -> None:
    old = failed(p)
    (new,) = again(p, old)
    for _ in range(2):
        p.open(new["id"])
        p.lose(new["id"])
    assert p.reason(new["id"]) == "backing_off"

    (job,) = again(p, old)

    assert (job["id"], job["state"]) == (new["id"], "queued")


def test_the_same_key_is_the_same_jobs(p: SmallPlatform) -> None:
    a = p.one(train("a"))
    p.one(train("b", "needs: [a]\n"))
    p.trainer(p.open(a)).fail()

    first = again(p, "a", key="k")
    p.trainer(p.open(first[0]["id"])).fail()

    assert [j["id"] for j in again(p, "a", key="k")] == [j["id"] for j in first]
    with pytest.raises(Conflict, match="'k' was used for another request"):
        again(p, "b", key="k")
    with pytest.raises(Conflict, match="another request"):
        p.submit(train("z"), key="k")
    with pytest.raises(BadRequest):
        again(p, "a", key="")


def test_a_key_that_made_nothing_makes_nothing_later(p: SmallPlatform) -> None:
    old = failed(p)
    (first,) = again(p, old)
    assert again(p, old, key="k")[0]["id"] == first["id"]
    p.trainer(p.open(first["id"])).fail()

    (answer,) = again(p, old, key="k")

    assert (answer["id"], answer["state"]) == (first["id"], "failed")
    assert len(again(p, old, key="other")) == 1


def test_nobody_is_not_retried(p: SmallPlatform) -> None:
    with pytest.raises(NotFound):
        again(p, "nobody")


def test_a_long_chain_is_done_again(p: SmallPlatform) -> None:
    chain = [train("t0")] + [train(f"t{n}", f"needs: [t{n - 1}]\n") for n in range(1, 60)]
    ids = p.submit("---\n".join(chain))
    p.trainer(p.open(ids[0])).fail()

    new = again(p, ids[0])

    assert [j["retry_of"] for j in new] == ids
    assert [j["state"] for j in new] == ["queued"] + ["waiting"] * 59


def test_without_redis_a_retry_is_acknowledged(p: SmallPlatform) -> None:
    old = failed(p)
    p.queues.reachable = False

    (new,) = again(p, old)

    assert new["state"] == "queued"
