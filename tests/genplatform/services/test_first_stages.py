"""What a training builds on: one published version, the same for each of its Runs, and the parent of what it makes."""

from __future__ import annotations

import pytest
from small_platform import TENANT, SmallPlatform, train

from genplatform.domain.keys import JobKey
from genplatform.errors import BadSpec
from genplatform.services import models, runs

PRIOR = "kind: train\nname: {name}\nrecipe: vqvae-prior\nfirst_stage: {first}\nbudget: {{steps: 5}}\n"


def prior(first: str, name: str = "prior", more: str = "") -> str:
    return PRIOR.format(name=name, first=first) + more


def test_the_version_that_is_named_is_handed_to_the_run_and_is_the_parent_of_what_it_publishes(
    p: SmallPlatform,
) -> None:
    p.trained("vq", {"recipe": "vqvae", "digest": "1" * 64})
    p.trained("vq", {"recipe": "vqvae", "digest": "2" * 64})
    job = p.one(prior("vq@1"))

    opened = p.open(job)
    p.trainer(opened).publish(digest="3" * 64, recipe="vqvae-prior")

    first = opened.order["first_stage"]
    assert (first["name"], first["version"], first["recipe"], first["digest"]) == ("vq", 1, "vqvae", "1" * 64)
    assert models.show(p.w, TENANT, "prior@1")["parent"] == "vq@1"
    assert p.job(job)["model"] == "prior@1"


def test_the_version_of_the_needed_job_is_built_on_also_when_there_is_a_newer_one(p: SmallPlatform) -> None:
    vq = "kind: train\nname: vq\nrecipe: vqvae\nbudget: {steps: 5}\n"
    one, two = p.submit(vq + "---\n" + prior("vq@latest", more="needs: [vq]\n"))
    p.trainer(p.open(one)).publish(digest="1" * 64, recipe="vqvae")
    p.trained("vq", {"recipe": "vqvae", "digest": "2" * 64})

    opened = p.open(two)
    p.trained("vq", {"recipe": "vqvae", "digest": "4" * 64})
    p.lose(two)
    again = p.open(two)
    p.trainer(again).publish(digest="3" * 64)

    assert opened.order["first_stage"]["digest"] == again.order["first_stage"]["digest"] == "1" * 64
    assert models.show(p.w, TENANT, "prior@1")["parent"] == "vq@1"


@pytest.mark.parametrize("first", ["vq", "vq@latest"])
def test_what_may_be_another_version_at_each_run_is_refused_with_the_newest(p: SmallPlatform, first: str) -> None:
    p.trained("vq", {"recipe": "vqvae"})

    with pytest.raises(BadSpec) as caught:
        p.submit(prior(first))

    (problem,) = caught.value.problems
    assert problem.path == "first_stage"
    assert "may be another version" in problem.message
    assert problem.hint == "Write vq@1, or need the job that publishes it."


def test_a_first_stage_that_nobody_has_or_promises_is_refused(p: SmallPlatform) -> None:
    with pytest.raises(BadSpec, match=r"first_stage: there is no model 'vq@1'"):
        p.submit(prior("vq@1"))
    with pytest.raises(BadSpec) as caught:
        p.submit(train("vq") + "---\n" + prior("vq"))
    assert caught.value.hint == "Add `needs: [vq]`."


def test_a_recipe_of_a_second_stage_wants_one_and_others_take_none(p: SmallPlatform) -> None:
    p.trained("vq", {"recipe": "vqvae"})

    with pytest.raises(BadSpec, match="builds on a published model of the recipe vqvae, and none is named"):
        p.submit("kind: train\nrecipe: vqvae-prior\n")
    with pytest.raises(BadSpec, match="'gan' builds on no other model"):
        p.submit(train("t", "first_stage: vq@1\n"))


def test_a_training_without_what_it_builds_on_fails_with_what_to_do(p: SmallPlatform) -> None:
    vq = "kind: train\nname: vq\nrecipe: vqvae\n"
    one, two = p.submit(vq + "---\n" + prior("vq@7", more="needs: [vq]\n"))
    p.trainer(p.open(one)).publish(recipe="vqvae")

    opened = runs.open_run(p.w, p.term(), JobKey(TENANT, two), workers=1, api_url="")

    assert opened is None
    assert p.job(two)["error"]["message"] == "There is no model 'vq@7' to build on."


def test_a_model_of_one_stage_has_no_parent(p: SmallPlatform) -> None:
    p.trained("t")

    assert models.show(p.w, TENANT, "t@1")["parent"] is None
