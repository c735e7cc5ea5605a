"""Jobs with a recipe of one's own: the platform knows its digest, and hands that on to whoever draws from the model."""

from __future__ import annotations

from typing import Any

import pytest
from small_platform import TENANT, SmallPlatform, generate

from genplatform.domain.recipe_code import RecipeCode
from genplatform.errors import BadRequest, BadSpec
from genplatform.services import models
from genplatform.services.runs import pool_of

CODE = RecipeCode("a" * 64, "mine", "Mine")
TRAIN = f"kind: train\nrecipe: {CODE}\nparams: {{whatever: 1}}\n"


def publish(p: SmallPlatform, code: Any) -> str:
    job_id = p.one(TRAIN)
    p.trainer(p.open(job_id)).publish(recipe="mine", card={"code": code, "cond": None})
    return job_id


def test_a_job_is_taken_without_a_look_at_its_params_and_named_after_its_class(p: SmallPlatform) -> None:
    job_id = p.one(TRAIN)

    assert p.job(job_id)["name"] == "mine"
    assert p.open(job_id).order["recipe"] == str(CODE)


def test_code_that_was_not_sent_is_refused_with_how_it_is(p: SmallPlatform) -> None:
    with pytest.raises(BadSpec) as caught:
        p.one("kind: train\nrecipe: ./mine.py:Mine\n")

    (problem,) = caught.value.problems
    assert (problem.path, problem.line) == ("recipe", 2)
    assert "`genctl submit` sends the code" in problem.hint


def test_workers_that_draw_from_its_model_are_told_the_code(p: SmallPlatform) -> None:
    publish(p, CODE.as_json())

    opened = p.open(p.one(generate(model="mine@1")))

    assert opened.order["model"]["code"] == CODE.as_json()
    assert models.show(p.w, TENANT, "mine@1")["card"]["code"]["upload"] == str(CODE)
    (shard, *_) = p.worker(opened).claim()
    assert shard["lineage"]["code"] == CODE.digest


def test_two_codes_never_share_a_pool(p: SmallPlatform) -> None:
    publish(p, CODE.as_json())
    publish(p, CODE._replace(digest="b" * 64).as_json())
    publish(p, None)

    with p.w.catalog.read() as tx:
        versions = [row for row in tx.models.all(TENANT) if row.name == "mine"]

    assert len({row.digest for row in versions}) == 1
    assert len({pool_of(TENANT, row) for row in versions}) == 3


@pytest.mark.parametrize("code", ["mine:Mine", {"sha256": "../x", "module": "m", "class": "C"}, {"module": "os"}])
def test_a_card_that_names_code_in_another_way_is_not_published(p: SmallPlatform, code: Any) -> None:
    with pytest.raises(BadRequest, match="names no recipe's code"):
        publish(p, code)
