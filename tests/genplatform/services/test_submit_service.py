"""Submit: what is acknowledged is in the catalog, each key makes its jobs once, what is refused leaves nothing."""

from __future__ import annotations

from typing import Any

import pytest
from small_platform import TENANT, SmallPlatform, generate, train
from together import together

from genplatform.domain.keys import JobKey
from genplatform.errors import BadRequest, BadSpec, Conflict
from genplatform.services import jobs, submit

ROAD = train("t") + "---\n" + generate("g", model="t@latest", more="needs: [t]\n")


def everything(p: SmallPlatform) -> list[dict[str, Any]]:
    return list(jobs.ps(p.w, TENANT, all=True)["jobs"])


def test_a_job_file_becomes_jobs_with_their_defaults(p: SmallPlatform) -> None:
    answer = submit.submit(p.w, TENANT, ROAD.encode(), "application/yaml")

    t, g = answer["jobs"]
    assert (t["name"], t["state"], t["queue"], t["priority"], t["labels"]) == ("t", "queued", "default", 500, {})
    assert t["progress"]["total"] == 100
    assert (g["state"], g["reason"]["code"]) == ("waiting", "needs_job")
    assert g["reason"]["message"] == "It waits for t."
    assert answer["next"] is None
    assert [e["type"] for e in p.events(g["id"])] == ["submitted"]


def test_what_was_said_beats_the_file(p: SmallPlatform) -> None:
    overrides = {"name": "n", "queue": "night", "priority": "7"}
    (job_id,) = p.submit(train("t"), sets=["budget.steps=5"], overrides=overrides)

    job = p.job(job_id)

    assert (job["name"], job["queue"], job["priority"]) == ("n", "night", 7)
    assert job["progress"]["total"] == 5


def test_the_ids_of_queued_jobs_go_to_the_intake_and_wake_the_dispatcher(p: SmallPlatform) -> None:
    t, _ = p.submit(ROAD)

    assert p.queues.take_intake(10) == [JobKey(TENANT, t)]
    assert p.queues.wait_for_wake(0)


def test_the_same_key_and_body_are_the_same_jobs(p: SmallPlatform) -> None:
    first = p.submit(ROAD, key="k")

    assert p.submit(ROAD, key="k") == first
    assert len(everything(p)) == 2


@pytest.mark.parametrize(
    ("body", "options"),
    [(train("other"), {}), (ROAD, {"sets": ["seed=1"]}), (ROAD, {"overrides": {"queue": "night"}})],
)
def test_the_same_key_with_another_wish_is_refused(p: SmallPlatform, body: str, options: dict[str, Any]) -> None:
    p.submit(ROAD, key="k")

    with pytest.raises(Conflict, match="'k' was used for another request"):
        p.submit(body, key="k", **options)
    assert len(everything(p)) == 2


def test_a_key_is_its_tenants_own(p: SmallPlatform) -> None:
    p.submit(train(), key="k")

    other = submit.submit(p.w, "other", train("x").encode(), "application/yaml", key="k")

    assert [j["name"] for j in other["jobs"]] == ["x"]


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_a_key_that_is_too_long_or_empty_is_refused(p: SmallPlatform, key: str) -> None:
    with pytest.raises(BadRequest, match="characters"):
        p.submit(train(), key=key)
    assert everything(p) == []


def test_of_many_submits_under_one_key_one_makes_the_job(on_each: SmallPlatform) -> None:
    calls = [lambda: on_each.submit(train(), key="k") for _ in range(20)]

    answers = together(calls)

    assert answers == [answers[0]] * 20
    assert [j["id"] for j in everything(on_each)] == answers[0]


def test_of_two_bodies_under_one_key_at_once_one_is_refused(on_each: SmallPlatform) -> None:
    def call(name: str) -> str:
        try:
            on_each.submit(train(name), key="k")
        except Conflict:
            return "refused"
        return "made"

    ends = together([lambda n=n: call(f"t{n % 2}") for n in range(8)])

    made = {name for name, end in zip([f"t{n % 2}" for n in range(8)], ends, strict=True) if end == "made"}
    assert len(made) == 1
    assert {j["name"] for j in everything(on_each)} == made
    assert len(everything(on_each)) == 1


def test_without_redis_a_submit_is_acknowledged_and_found_by_the_reconciler(p: SmallPlatform) -> None:
    p.queues.reachable = False

    job_id = p.one(train())

    assert p.line() == [job_id]


def test_a_dry_run_shows_the_defaults_and_keeps_nothing(p: SmallPlatform) -> None:
    body = generate("g").encode()

    answer = submit.submit(p.w, TENANT, body, "application/yaml", key="k", dry_run=True)

    (planned,) = answer["jobs"]
    assert (planned["id"], planned["state"]) == (None, None)
    assert planned["spec"]["output"] == {"format": None}
    assert everything(p) == []
    assert p.queues.take_intake(10) == []


def test_a_dry_run_plans_also_under_a_key_that_was_used(p: SmallPlatform) -> None:
    p.submit(train("t"), key="k")

    answer = submit.submit(p.w, TENANT, generate("g").encode(), "application/yaml", key="k", dry_run=True)

    assert [j["spec"]["name"] for j in answer["jobs"]] == ["g"]


def test_a_dry_run_finds_what_a_submit_would_find(p: SmallPlatform) -> None:
    with pytest.raises(BadSpec, match="no model 'nosie@1'"):
        p.submit(generate(model="nosie@1"), dry_run=True)


def test_one_wrong_document_keeps_all_of_the_file_out(p: SmallPlatform) -> None:
    with pytest.raises(BadSpec):
        p.submit(train("t") + "---\n" + generate("g", model="none@1"))

    assert everything(p) == []


def test_the_refusal_names_every_problem_its_place_and_what_to_do(p: SmallPlatform) -> None:
    with pytest.raises(BadSpec) as caught:
        p.submit(generate("a", model="nose@1") + "---\n" + generate("b", more="needs: [nobody]\n"))

    model, need = caught.value.problems
    assert (model.document, model.path, model.line) == (0, "model", 3)
    assert "'noise'" in model.hint
    assert (need.document, need.path) == (1, "needs")
    assert "no job 'nobody'" in need.message
