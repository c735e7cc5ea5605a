"""What a training starts from: one published version of its own recipe, held against the job before it is taken."""

from __future__ import annotations

from typing import Any

import pytest
from small_platform import TENANT, SmallPlatform

from genplatform.domain import layout
from genplatform.errors import BadRequest, BadSpec, SpecProblem
from genplatform.services import models

MORE = "kind: train\nname: {name}\nrecipe: {recipe}\nbase: {base}\nbudget: {{steps: 5}}\n"
CONFIG = {"width_of_network": 16, "levels": 2, "learning_rate": 1e-3, "classes": ["0", "1"]}


def more(base: str = "plain@1", recipe: str = "flow", name: str = "more", also: str = "") -> str:
    return MORE.format(name=name, recipe=recipe, base=base) + also


@pytest.fixture
def published(p: SmallPlatform) -> SmallPlatform:
    """A platform with the models plain@1, of the recipe flow, and dense@1, of gan, and their files."""
    for name, recipe, digest in (("plain", "flow", "1" * 64), ("dense", "gan", "2" * 64)):
        p.trained(name, {"recipe": recipe, "config": CONFIG, "digest": digest})
        p.w.store.put_bytes(f"{layout.model(TENANT, digest)}/config.json", b"{}")
    return p


def problems(p: SmallPlatform, text: str) -> list[SpecProblem]:
    with pytest.raises(BadSpec) as caught:
        p.submit(text)
    return list(caught.value.problems)


def test_the_base_is_handed_to_each_run_and_is_the_parent_of_what_it_publishes(published: SmallPlatform) -> None:
    p = published
    job = p.one(more(also="lora: {rank: 4}\n"))

    first = p.open(job)
    p.lose(job)
    again = p.open(job)
    adapter = {"base": "1" * 64, "rank": 4, "alpha": 16.0, "targets": None}
    p.trainer(again).publish(digest="3" * 64, recipe="flow", card={"adapter": adapter})

    for opened in (first, again):
        assert {key: opened.order["base"][key] for key in ("name", "version", "digest", "adapter")} == {
            "name": "plain",
            "version": 1,
            "digest": "1" * 64,
            "adapter": None,
        }
        assert opened.order["lora"] == {"rank": 4, "alpha": 16.0, "targets": None}
        assert "first_stage" not in opened.order
    assert models.show(p.w, TENANT, "more@1")["parent"] == "plain@1"
    p.w.store.put_bytes(f"{layout.model(TENANT, '3' * 64)}/config.json", b"{}")
    opened = p.open(p.one(more("more@1", name="further")))
    assert opened.order["base"]["adapter"] == adapter


def test_a_version_of_adapters_on_another_model_than_the_jobs_base_is_not_published(published: SmallPlatform) -> None:
    p = published
    job = p.one(more(also="lora: {}\n"))
    trainer = p.trainer(p.open(job))

    with pytest.raises(BadRequest, match=r"is not what job .* started from"):
        trainer.publish(digest="3" * 64, recipe="flow", card={"adapter": {"base": "2" * 64}})

    assert p.state(job) == "starting"


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        (more("dense@1"), "base", "base: dense@1 is of the recipe 'gan', and this job's recipe is 'flow'."),
        (more("plain@2"), "base", "base: there is no model 'plain@2'."),
        (more("plain"), "base", "base: 'plain' may be another version whenever a run of this job starts."),
        (
            more(also="params: {width_of_network: 32, learning_rate: 0.1, sampling_steps: 4}\n"),
            "params",
            "params.width_of_network is 32, and the base plain@1 has 16.",
        ),
        (
            more("dense@1", "gan", also="lora: {rank: 2}\n"),
            "lora",
            "A 'gan' cannot be tuned by adapters: the network that judges what they change is no part of a published "
            "version.",
        ),
        (
            "kind: train\nrecipe: flow\nlora: {}\n",
            "lora",
            "The job asks for adapters, which are put on a published model, and none is named.",
        ),
        (
            f"kind: train\nrecipe: upload:{'c' * 64}/mine:Mine\nlora: {{}}\n",
            "lora",
            "The job asks for adapters, which are put on a published model, and none is named.",
        ),
        (
            "kind: train\nrecipe: hf-causal-lm\nparams: {pretrained: hf://me/tiny@main}\n",
            "params",
            "params.pretrained: 'hf://me/tiny@main' may be another model whenever a run of this job starts.",
        ),
        (
            more("plain@1", "vqvae-prior", also="first_stage: plain@1\n"),
            "first_stage",
            "The job names a base and a first stage, and its base holds the first stage that it was built on.",
        ),
    ],
)
def test_what_cannot_be_started_from_is_refused_with_the_values(
    published: SmallPlatform, text: str, path: str, message: str
) -> None:
    (problem,) = problems(published, text)

    assert (problem.path, problem.message) == (path, message)
    assert problem.hint


def test_params_of_the_training_and_those_that_are_the_same_may_be_said(published: SmallPlatform) -> None:
    told = published.one(more(also="params: {width_of_network: 16, learning_rate: 0.01, batch_size: 8}\n"))

    assert published.state(told) == "queued"


def test_a_base_whose_files_are_gone_is_refused(published: SmallPlatform) -> None:
    published.w.store.remove(layout.model(TENANT, "1" * 64))

    (problem,) = problems(published, more())

    assert problem.message == f"base: the files of plain@1 (digest {'1' * 12}) are not in the store any more."


def test_a_base_that_a_job_of_the_file_makes_must_be_of_the_same_recipe(published: SmallPlatform) -> None:
    def text(recipe: str) -> str:
        made = f"kind: train\nname: first\nrecipe: {recipe}\n---\n"
        return made + more("first", also="needs: [first]\n")

    (problem,) = problems(published, text("gan"))
    one, two = published.submit(text("flow"))
    published.trainer(published.open(one)).publish(digest="4" * 64, recipe="flow")

    assert problem.message == "base: what first makes is of the recipe 'gan', and this job's recipe is 'flow'."
    order: dict[str, Any] = published.open(two).order
    assert order["base"]["digest"] == "4" * 64


def test_a_compression_that_is_needed_makes_no_base_and_hides_none_that_is_there(published: SmallPlatform) -> None:
    compress = "kind: compress\nname: c\nmodel: plain@1\nmethod: int8\n---\n"

    found = [problems(published, compress + more(base, also="needs: [c]\n")) for base in ("plain", "plain@2")]
    jobs = published.submit(compress + more(also="needs: [c]\n"))

    said = "base: what c makes is a compressed version of plain, which no training starts from."
    assert [[(one.path, one.message) for one in some] for some in found] == [[("base", said)]] * 2
    assert len(jobs) == 2


def test_a_second_stage_that_goes_on_from_a_base_needs_no_first_stage(p: SmallPlatform) -> None:
    p.trained("codes", {"recipe": "vqvae-prior", "digest": "5" * 64})
    p.w.store.put_bytes(f"{layout.model(TENANT, '5' * 64)}/config.json", b"{}")

    assert p.state(p.one(more("codes@1", "vqvae-prior"))) == "queued"


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ("{rank: 0}", "lora.rank"),
        ("{alpha: 0}", "lora.alpha"),
        ("{targets: []}", "lora.targets"),
        ("{ranks: 8}", "lora.ranks"),
    ],
)
def test_adapters_without_sense_are_refused(published: SmallPlatform, lora: str, message: str) -> None:
    (problem,) = problems(published, more(also=f"lora: {lora}\n"))

    assert problem.path == message
