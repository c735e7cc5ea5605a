"""Reading: a job by name, id or prefix; pages of jobs, events, lines and outputs."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from small_platform import TENANT, SmallPlatform, generate, train

from genplatform.domain.ids import ALPHABET
from genplatform.errors import BadRequest, NotFound
from genplatform.services import cancel, fold, jobs, models, outputs, submit


def named(p: SmallPlatform, ref: str) -> str:
    return str(p.job(ref)["id"])


def test_a_job_is_found_by_its_id_and_by_a_prefix_of_it(p: SmallPlatform) -> None:
    t = p.one(train())

    assert {named(p, ref) for ref in (t, t[:3], t[:7], "t")} == {t}


def test_a_name_means_its_newest_job_and_beats_a_prefix(p: SmallPlatform) -> None:
    old = p.one(train("t"))
    new = p.one(train("t"))
    prefix = old[:4]
    called = p.one(train(prefix))

    assert named(p, "t") == new
    assert named(p, prefix) == called


def test_a_whole_id_is_that_job_whatever_others_are_called(p: SmallPlatform) -> None:
    t = p.one(train("t"))
    p.one(train(t))

    assert p.job(t)["name"] == "t"


def test_a_prefix_of_several_is_refused_and_names_two(p: SmallPlatform) -> None:
    # Ids that begin with four times the same letter.
    numbers, letter = itertools.count(), len(ALPHABET)
    kkkk = sum(ALPHABET.index("k") * letter**place for place in (9, 8, 7, 6))
    w = replace(p.w, randbelow=lambda _: kkkk + next(numbers))
    made = submit.submit(w, TENANT, train("a").encode(), "application/yaml")["jobs"]
    made += submit.submit(w, TENANT, train("b").encode(), "application/yaml")["jobs"]

    with pytest.raises(BadRequest) as caught:
        p.job("j_kkkk")

    assert all(job["id"] in caught.value.message for job in made)


@pytest.mark.parametrize("ref", ["", "j_", "j", "nobody", "j_zzzz", "j_l", "J_K", "j_" + "k" * 11, "%", "j_%", "\x00"])
def test_what_nobody_is_called_is_not_found(p: SmallPlatform, ref: str) -> None:
    p.one(train())

    with pytest.raises(NotFound):
        p.job(ref)


def test_another_tenants_job_is_not_found(p: SmallPlatform) -> None:
    t = p.one(train())

    for ref in (t, t[:5], "t"):
        with pytest.raises(NotFound):
            jobs.show(p.w, "other", ref)


def test_jobs_are_listed_newest_first_in_pages(p: SmallPlatform) -> None:
    ids = p.submit("---\n".join(train(f"t{n}") for n in range(5)))

    seen: list[str] = []
    page: dict[str, Any] = {"next": None}
    for size in (2, 2, 1):
        page = jobs.ps(p.w, TENANT, limit=2, after=page["next"])
        assert len(page["jobs"]) == size
        seen += [job["id"] for job in page["jobs"]]

    assert seen == ids[::-1]
    assert page["next"] is None


def test_jobs_that_ended_are_listed_when_asked_for(p: SmallPlatform) -> None:
    a, b = p.submit(train("a") + "---\n" + train("b", "queue: night\n"))
    cancel.cancel(p.w, TENANT, a)

    def listed(**options: Any) -> set[str]:
        return {job["id"] for job in jobs.ps(p.w, TENANT, **options)["jobs"]}

    assert listed() == {b}
    assert listed(all=True) == {a, b}
    assert listed(states=["cancelled"]) == {a}
    assert listed(queue="night") == {b}
    assert listed(queue="day") == set()


def test_bad_questions_are_refused(p: SmallPlatform) -> None:
    with pytest.raises(BadRequest, match="no job state 'done'"):
        jobs.ps(p.w, TENANT, states=["done"])
    for mark in ("x", "-1", "1" * 30, "²"):
        with pytest.raises(BadRequest, match="not a page mark"):
            jobs.ps(p.w, TENANT, after=mark)


def test_events_are_read_page_by_page_and_followed_from_the_last_mark(p: SmallPlatform) -> None:
    t = p.one(train())
    node = p.trainer(p.open(t))
    node.start()

    first = jobs.events(p.w, TENANT, t, limit=2)
    rest = jobs.events(p.w, TENANT, t, after=first["next"])
    assert [e["type"] for e in first["events"] + rest["events"]] == ["submitted", "starting", "running"]
    nothing = jobs.events(p.w, TENANT, t, after=rest["next"])
    assert nothing == {"events": [], "next": rest["next"]}

    node.fail()

    later = jobs.events(p.w, TENANT, t, after=nothing["next"], types=["failed", "run_ended"])
    assert [e["type"] for e in later["events"]] == ["run_ended", "failed"]


def test_lines_are_read_by_run_and_from_the_end(p: SmallPlatform) -> None:
    t = p.one(train())
    for run in (1, 2):
        node = p.trainer(p.open(t))
        node.start()
        node.report(logs=[{"seq": n, "time": 10 * run + n, "text": f"{run}.{n}"} for n in range(3)])
        p.lose(t)
    fold.fold(p.w, p.term())

    def read(**options: Any) -> list[str]:
        return [line["text"] for line in jobs.logs(p.w, TENANT, t, **options)["lines"]]

    assert read(run=2) == ["2.0", "2.1", "2.2"]
    assert read(tail=2) == ["2.1", "2.2"]
    assert read(since=21) == ["2.1", "2.2"]
    first = jobs.logs(p.w, TENANT, t, limit=4)
    assert read(after=first["next"]) == ["2.1", "2.2"]
    assert jobs.logs(p.w, TENANT, t, after=10**6) == {"lines": [], "next": 10**6}


def test_outputs_are_read_in_pages_across_shards(p: SmallPlatform) -> None:
    g, node = p.generating(generate("g", count=150))
    node.work()

    seen: list[int] = []
    after: str | None = None
    for _ in range(20):
        page = outputs.ls(p.w, TENANT, g, limit=40, after=after)
        assert (page["job_id"], page["count"]) == (g, 150)
        seen += [item["index"] for item in page["items"]]
        after = page["next"]
        if after is None:
            break

    assert seen == list(range(150))


def test_a_page_that_ends_with_the_last_item_has_no_next(p: SmallPlatform) -> None:
    g, node = p.generating(generate("g", count=128))
    node.work()

    assert outputs.ls(p.w, TENANT, g, limit=128)["next"] is None
    assert outputs.ls(p.w, TENANT, g, limit=127)["next"] == "126"
    assert outputs.ls(p.w, TENANT, g, after="127")["items"] == []


def test_what_is_not_published_yet_is_passed_over(p: SmallPlatform) -> None:
    g, node = p.generating(generate("g", count=192))
    orders = node.claim(3)
    node.publish(orders[0])
    node.publish(orders[2])

    page = outputs.ls(p.w, TENANT, g, limit=65)

    assert [i["index"] for i in page["items"]] == [*range(64), 128]
    assert page["next"] == "128"
    with pytest.raises(NotFound, match="no published item 100"):
        outputs.show(p.w, TENANT, g, 100)


def test_an_item_says_where_its_file_lies(p: SmallPlatform) -> None:
    g, node = p.generating(generate("g"))
    node.work()

    item = outputs.show(p.w, TENANT, "g", 64)

    assert item["index"] == 64
    assert item["uri"] == p.w.store.uri(f"outputs/{TENANT}/{g}/shard-000001.r1.c1/000064.png")
    assert outputs.content(p.w, TENANT, g, 64)[1] == "image/png"
    for index in (192, 10**9, -1):
        with pytest.raises(NotFound):
            outputs.show(p.w, TENANT, g, index)


def test_a_train_job_has_no_outputs(p: SmallPlatform) -> None:
    p.one(train())

    with pytest.raises(BadRequest, match="train job"):
        outputs.ls(p.w, TENANT, "t")


def test_models_are_found_by_reference(p: SmallPlatform) -> None:
    p.trained("m", {"digest": "1" * 64})
    p.trained("m", {"digest": "2" * 64})

    assert [models.show(p.w, TENANT, ref)["version"] for ref in ("m", "m@1", "m@latest")] == [2, 1, 2]
    for ref, error in (("m@3", NotFound), ("m@prod", NotFound), ("x", NotFound), ("@1", BadRequest), ("", BadRequest)):
        with pytest.raises(error):
            models.show(p.w, TENANT, ref)
