"""Submits of very many jobs: all or none, in their order, each once, whatever the file's form and wherever it fails."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from small_platform import TENANT, SmallPlatform, train

from genplatform.catalog import IdTaken
from genplatform.catalog.submissions import Submissions
from genplatform.domain.keys import JobKey
from genplatform.errors import BadSpec, Conflict, NotFound
from genplatform.services import jobs, submissions, submit

JSON = "application/json"
LINES = "application/x-ndjson"
MANY = 100_000


@pytest.fixture(autouse=True)
def _streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the database takes jobs while they are read, it does so here for files of any size."""
    monkeypatch.setattr(submit, "STREAMED", 1)


def document(number: int, **more: Any) -> dict[str, Any]:
    return {"kind": "generate", "name": f"g{number}", "model": "noise@1", "count": 64, **more}


def array(documents: Sequence[dict[str, Any]]) -> bytes:
    return json.dumps(documents).encode()


def lines(documents: Sequence[dict[str, Any]]) -> bytes:
    return b"\n".join(json.dumps(one).encode() for one in documents)


def send(p: SmallPlatform, body: bytes, media_type: str = JSON, **options: Any) -> dict[str, Any]:
    return submit.submit(p.w, TENANT, body, media_type, **options)


def is_empty(p: SmallPlatform) -> bool:
    return list(jobs.ps(p.w, TENANT, all=True)["jobs"]) == []


def pages(p: SmallPlatform, key: str, limit: int = 1000) -> Iterator[dict[str, Any]]:
    after = None
    while True:
        page = submissions.jobs(p.w, TENANT, key, limit=limit, after=after)
        yield from page["jobs"]
        after = page["next"]
        if after is None:
            return


@pytest.mark.timeout(300)
def test_a_hundred_thousand_jobs_are_all_made_or_none(on_each: SmallPlatform) -> None:
    documents = [document(number) for number in range(MANY)]
    bad = [*documents[:-1], document(MANY - 1, count=0)]

    with pytest.raises(BadSpec) as caught:
        send(on_each, array(bad), key="k")
    left_behind = not is_empty(on_each)
    body = array(documents)
    made = send(on_each, body, key="k")
    again = send(on_each, body, key="k")

    (problem,) = caught.value.problems
    assert (problem.document, problem.path) == (MANY - 1, "count")
    assert not left_behind
    assert (made["count"], made["key"], len(made["jobs"])) == (MANY, "k", submissions.PAGE)
    assert (again["jobs"], again["next"]) == (made["jobs"], made["next"])
    assert submissions.show(on_each.w, TENANT, "k")["states"] == {"queued": MANY}
    assert [job["name"] for job in made["jobs"]] == [one["name"] for one in documents[: submissions.PAGE]]
    assert on_each.job(f"g{MANY - 1}")["state"] == "queued"
    with pytest.raises(Conflict):
        send(on_each, array(bad[:-1]), key="k")


def test_how_far_a_submit_is_can_be_seen_while_it_is_at_work(
    on_each: SmallPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress, seen = submit.Progress(), []
    real = submit.plan

    def plan(one: Any) -> Any:
        seen.append((progress.read, progress.stored))
        return real(one)

    monkeypatch.setattr(submit, "plan", plan)
    send(on_each, array([document(number) for number in range(2500)]), key="k", progress=progress)

    assert [read for read, _ in seen] == list(range(1, 2501))
    assert all(stored < read for read, stored in seen)
    assert (progress.read, progress.stored) == (2500, 2500)


def test_a_failure_at_the_end_leaves_nothing_of_it(on_each: SmallPlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("cut off")

    body = array([*(document(number) for number in range(3000)), document(3000, needs=["g0"])])
    with monkeypatch.context() as broken:
        broken.setattr(Submissions, "add_jobs", fail)
        with pytest.raises(RuntimeError, match="cut off"):
            send(on_each, body, key="k")

    with pytest.raises(NotFound):
        submissions.show(on_each.w, TENANT, "k")
    assert is_empty(on_each)
    assert send(on_each, body, key="k")["count"] == 3001


@pytest.mark.parametrize(("form", "media_type"), [(array, JSON), (lines, LINES)])
def test_every_bad_document_is_told_with_its_number_and_its_line(p: SmallPlatform, form: Any, media_type: str) -> None:
    documents = [document(number, labels={"text": "x" * 100}) for number in range(10_000)]
    documents[17] |= {"cuont": 3}
    documents[9_000] |= {"model": "nosie@1", "count": "many"}
    body = form(documents).replace(b"}, {", b"},\n{")

    with pytest.raises(BadSpec) as caught:
        send(p, body, media_type)

    found = [(one.document, one.line, one.path) for one in caught.value.problems]
    assert found == [(17, 18, "cuont"), (9_000, 9_001, "count")]
    assert "'count'" in caught.value.problems[0].hint
    assert is_empty(p)


def test_lines_that_are_no_json_are_told_and_the_rest_is_read_on(p: SmallPlatform) -> None:
    good = json.dumps(document(1))
    body = f'{good}\n\n{{"kind": \n{good[:-1]}, "name": "other"}}\n[1]\nnull\n{good} {good}\n'.encode()

    with pytest.raises(BadSpec) as caught:
        send(p, body, LINES)

    found = [(one.document, one.line, one.message.split(":")[0]) for one in caught.value.problems]
    assert found == [
        (1, 3, "The line is not valid JSON"),
        (2, 4, "name is given twice, first on line 4."),
        (3, 5, "A job is a mapping, and this is a list."),
        (4, 7, "The line is not valid JSON"),
    ]


def test_a_flood_of_problems_ends_with_a_word_that_there_are_more(p: SmallPlatform) -> None:
    with pytest.raises(BadSpec) as caught:
        send(p, array([document(number, model="nosie@1") for number in range(5000)]))

    *problems, last = caught.value.problems
    assert [one.document for one in problems] == list(range(100))
    assert "more problems" in last.message


def test_jobs_without_a_name_get_names_of_their_own_soon(p: SmallPlatform) -> None:
    unnamed = {key: value for key, value in document(0).items() if key != "name"}
    documents = [*([unnamed] * 20_000), unnamed | {"name": "noise-items-7"}]

    made = send(p, array(documents), dry_run=True)
    kept = send(p, array(documents[:1500]), key="k")

    assert made["count"] == 20_001
    assert [job["name"] for job in made["jobs"][:8]] == [
        "noise-items",
        *(f"noise-items-{number}" for number in (2, 3, 4, 5, 6, 8, 9)),
    ]
    assert len({job["name"] for job in pages(p, kept["key"])}) == 1500
    assert kept["jobs"][0]["name"] == "noise-items"


def test_jobs_of_a_large_file_need_earlier_ones_and_others(on_each: SmallPlatform) -> None:
    outside = on_each.one(train("outside"))
    documents = [document(number, needs=[f"g{number - 1}"] if number % 2 else []) for number in range(1200)]
    documents.append(document(1200, needs=["outside", outside, "g0"]))

    send(on_each, array(documents), key="k")

    first, second, *_, last = pages(on_each, "k")
    assert (first["state"], second["state"], last["state"]) == ("queued", "waiting", "waiting")
    assert second["reason"]["message"] == "It waits for g0."
    with on_each.w.catalog.read() as tx:
        needed = [need.name for need in tx.jobs.needs_of(on_each.row(last["id"]).id)]
    assert needed == ["outside", "g0"]
    assert on_each.row(last["id"]).open_needs == 2


def test_jobs_stand_in_the_order_of_their_file_whatever_they_are(on_each: SmallPlatform) -> None:
    documents = [document(number) for number in range(400)]
    del documents[150]["name"]
    documents[250] |= {"needs": ["g0"], "deadline": "1h"}

    made = send(on_each, array(documents), key="k")

    names = [one.get("name", "noise-items") for one in documents]
    assert [job["name"] for job in made["jobs"]] == [job["name"] for job in pages(on_each, "k")] == names
    assert [e["data"]["state"] for e in on_each.events(made["jobs"][250]["id"])] == ["waiting"]
    assert submissions.show(on_each.w, TENANT, "k")["count"] == 400


def test_each_of_many_jobs_may_need_another_of_the_catalog(on_each: SmallPlatform) -> None:
    before = send(on_each, array([document(number) for number in range(50)]))["jobs"]
    documents = [document(1000 + n, needs=[job["id"] if n % 2 else job["name"]]) for n, job in enumerate(before)]

    made = send(on_each, array(documents))["jobs"]

    with on_each.w.catalog.read() as tx:
        needed = [tx.jobs.needs_of(on_each.row(job["id"]).id)[0].job_id for job in made]
    assert needed == [job["id"] for job in before]


def test_what_was_said_beside_a_large_file_is_said_of_each_of_its_jobs(p: SmallPlatform) -> None:
    documents = [document(number) for number in range(1500)]

    made = send(p, array(documents), sets=["count=5", "labels.team=a"], overrides={"priority": "7"}, key="k")

    assert {(job["progress"]["total"], job["priority"], job["labels"]["team"]) for job in pages(p, "k")} == {
        (5, 7, "a")
    }
    assert made["count"] == 1500


def test_the_dispatcher_is_told_of_those_that_it_would_start_first(p: SmallPlatform) -> None:
    documents = [document(number, priority=number % 7 * 100) for number in range(10_000)]

    send(p, array(documents), key="k")

    best = [job["id"] for job in pages(p, "k") if job["priority"] == 600][: submit.HINTED]
    assert p.queues.take_intake(20_000) == [JobKey(TENANT, job_id) for job_id in best]


def test_a_submit_without_a_key_is_given_one_to_find_its_jobs_by(p: SmallPlatform) -> None:
    made = send(p, array([document(number) for number in range(1001)]))

    found = list(pages(p, made["key"], limit=400))

    assert len(found) == 1001
    assert found[:1000] == made["jobs"]


def test_an_id_that_is_taken_is_drawn_again(on_each: SmallPlatform) -> None:
    numbers = iter([5, 6, 5, 7, 8, 9])
    w = replace(on_each.w, randbelow=lambda _: next(numbers))
    submit.submit(w, TENANT, array([document(1)]), JSON)

    made = submit.submit(w, TENANT, array([document(2), document(3)]), JSON, key="k")

    assert made["count"] == 2
    assert len({job["id"] for job in jobs.ps(on_each.w, TENANT)["jobs"]}) == 3


def test_an_id_that_stays_taken_makes_nothing(on_each: SmallPlatform) -> None:
    w = replace(on_each.w, randbelow=lambda _: 5)
    submit.submit(w, TENANT, array([document(1)]), JSON)

    with pytest.raises(IdTaken):
        submit.submit(w, TENANT, array([document(2)]), JSON, key="k")

    assert len(jobs.ps(on_each.w, TENANT)["jobs"]) == 1


def test_a_job_of_a_large_file_begins_like_any_other(on_each: SmallPlatform) -> None:
    made = send(on_each, array([document(number, labels={"of": "many \u00e9"}) for number in range(30)]))

    one = made["jobs"][7]
    assert on_each.job(one["id"]) == one | {"position": 8}
    assert [(e["type"], e["data"]) for e in on_each.events(one["id"])] == [("submitted", {"state": "queued"})]
