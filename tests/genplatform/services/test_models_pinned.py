"""Which model a generate job uses: what the needed job published, else what the catalog has when it starts."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from small_platform import TENANT, SmallPlatform, generate, train

from genplatform.domain.keys import JobKey
from genplatform.errors import BadRequest, BadSpec, NotFound
from genplatform.services import models, runs


def version(p: SmallPlatform, job_id: str) -> str | None:
    ref: str | None = p.job(job_id)["model"]
    return ref


def test_a_model_that_nobody_has_or_promises_is_refused_with_the_nearest_name(p: SmallPlatform) -> None:
    p.trained("digits")

    with pytest.raises(BadSpec) as caught:
        p.submit(generate(model="digit@1"))

    assert "no model 'digit@1'" in caught.value.message
    assert "'digits'" in caught.value.hint


def test_a_version_that_does_not_exist_is_refused(p: SmallPlatform) -> None:
    p.trained("digits")

    with pytest.raises(BadSpec, match="'digits@2'"):
        p.submit(generate(model="digits@2"))


def test_a_model_that_a_job_of_the_file_makes_must_be_waited_for(p: SmallPlatform) -> None:
    with pytest.raises(BadSpec) as caught:
        p.submit(train("t") + "---\n" + generate(model="t"))

    assert caught.value.hint == "Add `needs: [t]`."


CLASSES = {"properties": {"class": {"enum": ["0", "1"]}}, "additionalProperties": False}


def test_a_condition_is_held_against_the_version_that_is_there(p: SmallPlatform) -> None:
    p.trained("digits", {"card": {"cond": CLASSES}})
    p.trained("plain", {"card": {"cond": None}})

    made = p.submit(generate("good", model="digits@1", more="cond: {class: 1}\n"))

    assert p.open(made[0]) is not None
    for model, cond in (("digits@1", "{class: 2}"), ("digits@1", "{clas: 1}"), ("plain@1", "{class: 1}")):
        with pytest.raises(BadSpec) as caught:
            p.submit(generate(model=model, more=f"cond: {cond}\n"))
        assert caught.value.problems[0].path == "cond"


def test_conditions_are_held_against_a_schema_once_each_and_not_once_a_job(
    p: SmallPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    p.trained("digits", {"card": {"cond": CLASSES}})
    asked = 0
    iter_errors = Draft202012Validator.iter_errors

    def counted(*arguments: Any, **more: Any) -> Any:
        nonlocal asked
        asked += 1
        return iter_errors(*arguments, **more)

    def submitted(name: str, count: int) -> int:
        before = asked
        wishes = [generate(f"{name}{n}", model="digits@1", more=f"cond: {{class: {n % 2}}}\n") for n in range(count)]
        p.submit("---\n".join(wishes))
        return asked - before

    monkeypatch.setattr(Draft202012Validator, "iter_errors", counted)

    assert submitted("few", 2) == submitted("many", 60) > 0


@pytest.mark.parametrize("cond", [{"type": 5}, {"properties": {"class": {"pattern": "("}}}, ["class"]])
def test_a_model_whose_conditions_are_no_schema_is_not_published(p: SmallPlatform, cond: object) -> None:
    job_id = p.one(train("digits"))
    node = p.trainer(p.open(job_id))

    with pytest.raises(BadRequest, match=r"The `cond` of the model's card is no JSON Schema"):
        node.publish(card={"cond": cond})

    assert p.job(job_id)["model"] is None


def test_a_condition_of_a_model_to_come_is_held_against_its_recipe(p: SmallPlatform) -> None:
    with pytest.raises(BadSpec, match="takes no condition"):
        p.submit(train("t") + "---\n" + generate(model="t", more="needs: [t]\ncond: {class: 1}\n"))


def test_a_shards_worker_is_told_the_condition(p: SmallPlatform) -> None:
    p.trained("digits", {"card": {"cond": CLASSES}})
    (job,) = p.submit(generate("good", model="digits@1", more="cond: {class: 1}\n"))
    opened = p.open(job)

    (order, *_) = p.worker(opened).claim()

    assert order["cond"] == {"class": 1}


def test_another_tenants_model_is_not_seen(p: SmallPlatform) -> None:
    p.trained("digits")

    with pytest.raises(NotFound):
        models.show(p.w, "other", "digits@1")


def test_the_version_of_the_needed_job_is_used_even_when_there_is_a_newer_one(p: SmallPlatform) -> None:
    t, g = p.submit(train("t") + "---\n" + generate("g", model="t@latest", more="needs: [t]\n"))
    p.trainer(p.open(t)).publish(digest="1" * 64)
    p.trained("t", {"digest": "2" * 64})

    opened = p.open(g)

    assert version(p, g) == "t@1"
    assert opened.order["model"]["digest"] == "1" * 64
    assert models.show(p.w, TENANT, "t")["version"] == 2


def test_without_needs_the_newest_at_the_start_is_pinned_and_stays(p: SmallPlatform) -> None:
    p.trained("t", {"digest": "1" * 64})
    g = p.one(generate("g", model="t"))
    p.trained("t", {"digest": "2" * 64})

    p.open(g)
    assert version(p, g) == "t@2"
    p.trained("t", {"digest": "3" * 64})
    p.lose(g)
    p.open(g)

    assert version(p, g) == "t@2"


def test_a_job_whose_model_was_never_published_fails_with_what_to_do(p: SmallPlatform) -> None:
    t, g = p.submit(train("t") + "---\n" + generate("g", model="t@7", more="needs: [t]\n"))
    after = p.one(generate("after", more="needs: [g]\n"))
    p.trainer(p.open(t)).publish()

    opened = runs.open_run(p.w, p.term(), JobKey(TENANT, g), workers=1, api_url="")

    assert opened is None
    assert p.state(g) == "failed"
    assert "no model 't@7'" in p.job(g)["error"]["message"]
    assert "genctl models ls" in p.job(g)["error"]["hint"]
    assert (p.state(after), p.reason(after)) == ("cancelled", "dependency_failed")


def test_a_published_model_becomes_the_next_version(p: SmallPlatform) -> None:
    first, second = p.trained("t"), p.trained("t", {"digest": "2" * 64})

    versions = [m for m in models.ls(p.w, TENANT)["models"] if m["name"] == "t"]

    assert [(m["version"], m["job_id"], m["aliases"]) for m in versions] == [
        (2, second, ["latest"]),
        (1, first, []),
    ]
    assert version(p, second) == "t@2"
