"""/api/v1: each address against the real services, its answer held to its documented shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from genplatform.api import shapes
from genplatform.api.jobs import JSON, YAML, media_type_of
from genplatform.errors import BadRequest
from genplatform.services import leadership
from genplatform.services.context import Wiring
from genplatform.services.idempotency import LONGEST_KEY

Calling = Callable[[FastAPI], TestClient]
NOISE = "kind: generate\nname: some-noise\nmodel: noise@1\ncount: 200\nseed: 7\n"


def submit(api: TestClient, text: str = NOISE, **headers: str) -> Any:
    return api.post("/api/v1/jobs", content=text, headers={"Content-Type": YAML, **headers})


def test_a_submitted_job_is_shown_and_listed(api: TestClient) -> None:
    made = submit(api)

    assert made.status_code == 201
    (job,) = shapes.Jobs.model_validate(made.json()).jobs
    assert (job.kind, job.name, job.state) == ("generate", "some-noise", "queued")
    assert api.get(f"/api/v1/jobs/{job.id}").json() == made.json()["jobs"][0] | {"position": 1}
    assert api.get("/api/v1/jobs/some-noise").json()["id"] == job.id
    assert api.get(f"/api/v1/jobs/{job.id[:6]}").json()["id"] == job.id
    assert [j["id"] for j in api.get("/api/v1/jobs").json()["jobs"]] == [job.id]


def test_json_is_a_job_file_too(api: TestClient) -> None:
    made = api.post("/api/v1/jobs", json={"kind": "generate", "model": "noise@1", "count": 3})

    assert made.status_code == 201


def test_the_same_key_is_the_same_job_and_another_body_is_refused(api: TestClient) -> None:
    first = submit(api, **{"Idempotency-Key": "k1"})
    again = submit(api, **{"Idempotency-Key": "k1"})
    other = submit(api, NOISE.replace("200", "201"), **{"Idempotency-Key": "k1"})

    assert again.status_code == 201
    assert again.json()["jobs"][0]["id"] == first.json()["jobs"][0]["id"]
    assert other.status_code == 409
    assert other.json()["code"] == "conflict"
    assert len(api.get("/api/v1/jobs?all=true").json()["jobs"]) == 1


def test_a_key_is_as_long_as_the_record_has_room_for(api: TestClient) -> None:
    longest = submit(api, **{"Idempotency-Key": "k" * LONGEST_KEY})
    longer = submit(api, **{"Idempotency-Key": "k" * (LONGEST_KEY + 1)})

    assert longest.status_code == 201
    assert longer.status_code == 400
    assert str(LONGEST_KEY) in longer.text
    assert len(api.get("/api/v1/jobs?all=true").json()["jobs"]) == 1


def test_what_the_query_sets_goes_over_what_the_file_says(api: TestClient) -> None:
    made = api.post(
        "/api/v1/jobs?set=count=5&set=seed=8&name=other&queue=night&priority=900",
        content=NOISE,
        headers={"Content-Type": YAML},
    )

    assert made.status_code == 201, made.text
    (job,) = made.json()["jobs"]
    assert (job["name"], job["queue"], job["priority"]) == ("other", "night", 900)


def test_a_dry_run_checks_and_keeps_nothing(api: TestClient) -> None:
    good = api.post("/api/v1/jobs?dry_run=true", content=NOISE)
    bad = api.post("/api/v1/jobs?dry_run=true", content=NOISE.replace("noise@1", "nothing@1"))

    assert good.status_code == 200
    assert bad.status_code in {400, 404}
    assert api.get("/api/v1/jobs?all=true").json()["jobs"] == []


def test_a_typo_in_the_query_of_a_submit_changes_nothing(api: TestClient) -> None:
    answer = api.post("/api/v1/jobs?dryrun=true", content=NOISE)

    assert answer.status_code == 400
    assert answer.json()["problems"][0]["path"] == "dryrun"
    assert api.get("/api/v1/jobs?all=true").json()["jobs"] == []


def test_all_that_is_wrong_with_a_job_file_is_told_with_its_place(api: TestClient) -> None:
    answer = submit(api, "kind: generate\nmodel: noise@1\ncount: 0\nsede: 7\n")

    assert answer.status_code == 400
    problem = shapes.Problem.model_validate(answer.json())
    assert problem.code == "bad_spec"
    assert {(p["path"], p["line"]) for p in problem.problems or []} == {("count", 3), ("sede", 4)}


@pytest.mark.parametrize("body", [b"", b"\xff\xfe\x00", b"{", b"!!python/object:os.system {}", b"- 1", b"\x00"])
def test_a_broken_job_file_is_refused_and_changes_nothing(api: TestClient, body: bytes) -> None:
    answer = api.post("/api/v1/jobs", content=body)

    assert answer.status_code == 400
    assert answer.json()["code"] in {"bad_spec", "bad_request"}
    assert api.get("/api/v1/jobs?all=true").json()["jobs"] == []


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("", YAML),
        ("application/yaml", YAML),
        ("application/x-yaml; charset=utf-8", YAML),
        ("application/x-www-form-urlencoded", YAML),
        ("Application/JSON; charset=utf-8", JSON),
        ("application/vnd.x+json", JSON),
    ],
)
def test_a_job_file_is_yaml_unless_it_says_json(given: str, read: str) -> None:
    assert media_type_of(given) == read


def test_a_form_is_no_job_file() -> None:
    with pytest.raises(BadRequest, match="multipart/form-data"):
        media_type_of("multipart/form-data; boundary=x")


def test_listing_pages_and_filters(api: TestClient) -> None:
    ids = [submit(api, NOISE.replace("some-noise", f"n{k}")).json()["jobs"][0]["id"] for k in range(3)]
    api.post(f"/api/v1/jobs/{ids[0]}/cancel")

    first = api.get("/api/v1/jobs?all=true&limit=2").json()
    second = api.get("/api/v1/jobs", params={"all": "true", "limit": 2, "after": first["next"]}).json()

    assert [j["id"] for j in first["jobs"] + second["jobs"]] == ids[::-1]
    assert second["next"] is None
    assert [j["id"] for j in api.get("/api/v1/jobs").json()["jobs"]] == ids[:0:-1]
    assert [j["id"] for j in api.get("/api/v1/jobs?state=cancelled&state=failed").json()["jobs"]] == ids[:1]
    assert api.get("/api/v1/jobs?queue=nothing").json()["jobs"] == []
    assert api.get("/api/v1/jobs?after=x").status_code == 400


def test_cancelling_ends_a_job_and_its_events_tell(api: TestClient) -> None:
    (job,) = submit(api).json()["jobs"]

    cancelled = api.post(f"/api/v1/jobs/{job['id']}/cancel")
    again = api.post(f"/api/v1/jobs/{job['id']}/cancel")

    assert cancelled.status_code == again.status_code == 200
    assert shapes.Job.model_validate(cancelled.json()).state == "cancelled"
    events = shapes.Events.model_validate(api.get(f"/api/v1/jobs/{job['id']}/events").json()).events
    assert [e.type for e in events][-1] == "cancelled"
    first = api.get(f"/api/v1/jobs/{job['id']}/events?limit=1").json()
    later = api.get(f"/api/v1/jobs/{job['id']}/events", params={"after": first["next"]}).json()
    assert [e["id"] for e in first["events"] + later["events"]] == [str(e.id) for e in events]


def test_two_jobs_are_told_apart(api: TestClient) -> None:
    submit(api)
    submit(api, NOISE.replace("some-noise", "other-noise").replace("seed: 7", "seed: 8"))

    found = shapes.Diff.model_validate(api.get("/api/v1/jobs/some-noise/diff/other-noise").json())

    assert [job.name for job in found.jobs] == ["some-noise", "other-noise"]
    assert [d.model_dump() for d in found.differences] == [{"part": "spec", "field": "seed", "a": 7, "b": 8}]
    assert api.get("/api/v1/jobs/some-noise/diff/nobody").status_code == 404


def test_a_job_that_did_nothing_has_no_logs_artifacts_or_outputs(api: TestClient) -> None:
    (job,) = submit(api).json()["jobs"]
    at = f"/api/v1/jobs/{job['id']}"

    assert shapes.LogLines.model_validate(api.get(f"{at}/logs?tail=5&run=1&since=0").json()).lines == []
    assert shapes.Artifacts.model_validate(api.get(f"{at}/artifacts").json()).artifacts == []
    assert shapes.Outputs.model_validate(api.get(f"{at}/outputs").json()).items == []
    assert api.get(f"{at}/outputs/0").status_code == 404
    assert api.get(f"{at}/outputs/0/content").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        *("jobs/nothing", "jobs/j_", "jobs/%00", "jobs/%ff", "jobs/nothing/events", "jobs/nothing/logs"),
        *("jobs/nothing/outputs", "models/nothing", "models/noise@9", "recipes/nothing", "endpoints/nothing"),
    ],
)
def test_what_does_not_exist_is_a_problem_with_a_hint(api: TestClient, path: str) -> None:
    answer = api.get(f"/api/v1/{path}")

    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"
    assert answer.json()["hint"]


def test_models_and_recipes_are_shown(api: TestClient) -> None:
    models = shapes.Models.model_validate(api.get("/api/v1/models").json()).models
    assert [(m.name, m.version, m.job_id) for m in models] == [("noise", 1, None)]
    assert shapes.ModelVersion.model_validate(api.get("/api/v1/models/noise@latest").json()).version == 1
    assert "card" in api.get("/api/v1/models/noise").json()

    recipes = shapes.Recipes.model_validate(api.get("/api/v1/recipes").json()).recipes
    assert {"gan", "noise"} <= {r.name for r in recipes}
    assert shapes.Recipe.model_validate(api.get("/api/v1/recipes/gan").json()).config["properties"]


def test_an_endpoint_is_created_once_updated_and_removed(api: TestClient) -> None:
    wish = {"name": "digits", "model": "noise@1", "min_replicas": 2}

    made = api.post("/api/v1/endpoints", json=wish)
    again = api.post("/api/v1/endpoints", json=wish)

    assert made.status_code == 201
    assert made.json() == again.json()
    endpoint = shapes.Endpoint.model_validate(made.json())
    assert (endpoint.state, endpoint.model) == ("pending", "noise@1")
    assert (endpoint.replicas.min, endpoint.replicas.max) == (2, 2)
    assert shapes.Endpoints.model_validate(api.get("/api/v1/endpoints").json()).endpoints == [endpoint]
    assert api.get("/api/v1/endpoints/digits").json() == made.json()
    assert api.delete("/api/v1/endpoints/digits").json()["state"] == "deleting"
    assert api.delete("/api/v1/endpoints/nothing").status_code == 404
    assert api.post("/api/v1/endpoints", json=wish | {"model": "nothing@1"}).status_code == 404
    assert api.post("/api/v1/endpoints", json=wish | {"max_replicas": 1}).status_code == 400


def test_the_schema_is_the_job_files(api: TestClient) -> None:
    schema = api.get("/api/v1/schema").json()

    assert schema["properties"]["kind"]["enum"] == ["train", "generate", "evaluate", "compress", "command"]


def test_status_tells_of_each_part(w: Wiring, api: TestClient) -> None:
    alone = shapes.Status.model_validate(api.get("/api/v1/status").json())
    leadership.lead(w, "a dispatcher")
    led = shapes.Status.model_validate(api.get("/api/v1/status").json())

    assert {p.name: p.state for p in alone.parts} == {
        "catalog": "up",
        "redis": "up",
        "store": "up",
        "dispatcher": "down",
    }
    assert alone.state == "degraded"
    assert led.state == "up"


def test_a_job_is_paused_and_resumed_and_what_is_over_is_not(api: TestClient) -> None:
    (job,) = submit(api).json()["jobs"]
    at = f"/api/v1/jobs/{job['id']}"

    paused = shapes.Job.model_validate(api.post(f"{at}/pause").json())
    resumed = shapes.Job.model_validate(api.post(f"{at}/resume").json())

    assert (paused.state, paused.reason and paused.reason.code) == ("paused", "paused")
    assert (resumed.state, resumed.reason) == ("queued", None)
    api.post(f"{at}/cancel")
    for verb in ("pause", "resume"):
        refused = api.post(f"{at}/{verb}")
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
        assert api.post(f"/api/v1/jobs/nothing/{verb}").status_code == 404


def test_a_cancelled_job_is_retried_once_and_the_key_is_kept(api: TestClient) -> None:
    (job,) = submit(api).json()["jobs"]
    at = f"/api/v1/jobs/{job['id']}"
    assert api.post(f"{at}/retry").status_code == 409
    api.post(f"{at}/cancel")

    first = api.post(f"{at}/retry", headers={"Idempotency-Key": "k1"})
    again = [api.post(f"{at}/retry", headers=headers) for headers in ({"Idempotency-Key": "k1"}, {})]
    other = submit(api, **{"Idempotency-Key": "k1"})

    assert first.status_code == 200
    (new,) = shapes.Jobs.model_validate(first.json()).jobs
    assert (new.retry_of, new.state) == (job["id"], "queued")
    assert [a.json()["jobs"][0]["id"] for a in again] == [new.id] * 2
    assert other.status_code == 409
    assert api.post("/api/v1/jobs/nothing/retry").status_code == 404
    assert api.post(f"{at}/retry", headers={"Idempotency-Key": "k" * (LONGEST_KEY + 1)}).status_code == 400


def test_the_priority_of_a_job_is_changed_and_nothing_else(api: TestClient) -> None:
    (job,) = submit(api).json()["jobs"]
    at = f"/api/v1/jobs/{job['id']}"

    changed = api.patch(at, json={"priority": 900})

    assert changed.status_code == 200
    assert shapes.Job.model_validate(changed.json()).priority == 900
    for body in ({}, {"priority": 1001}, {"priority": -1}, {"priority": "high"}, {"priority": 1, "name": "x"}):
        refused = api.patch(at, json=body)
        assert (refused.status_code, refused.json()["code"]) == (400, "bad_request"), body
    assert api.get(at).json()["priority"] == 900
    api.post(f"{at}/cancel")
    assert api.patch(at, json={"priority": 1}).status_code == 409
    assert api.patch("/api/v1/jobs/nothing", json={"priority": 1}).status_code == 404
