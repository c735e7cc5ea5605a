"""Diff: in what two jobs differ, each difference in its part, and nothing that is only a name or a time."""

from __future__ import annotations

from typing import Any

import pytest
from small_platform import TENANT, SmallPlatform, generate, train

from genplatform.domain.recipe_code import RecipeCode
from genplatform.errors import NotFound
from genplatform.services.diff import diff

CODE = RecipeCode("a" * 64, "mine", "Mine")


def between(p: SmallPlatform, one: str, other: str) -> dict[tuple[str, str], tuple[Any, Any]]:
    found = diff(p.w, TENANT, one, other)
    assert [job["id"] for job in found["jobs"]] == [p.job(one)["id"], p.job(other)["id"]]
    return {(d["part"], d["field"]): (d["a"], d["b"]) for d in found["differences"]}


def test_the_same_asked_twice_differs_in_nothing_not_even_while_one_is_younger(p: SmallPlatform) -> None:
    p.one(train("first"))
    p.clock.go(100)
    p.one(train("second"))

    assert between(p, "first", "second") == {}


def test_what_was_asked_differently_is_told_field_by_field(p: SmallPlatform) -> None:
    p.one(train("first", "params: {latent_dim: 8}\nseed: 1\nlabels: {team: a}\n"))
    p.one(train("second", "params: {dropout: 0.1}\nseed: 2\npublish: elsewhere\n"))

    assert between(p, "first", "second") == {
        ("spec", "labels.team"): ("a", None),
        ("spec", "params.dropout"): (None, 0.1),
        ("spec", "params.latent_dim"): (8, None),
        ("spec", "publish"): (None, "elsewhere"),
        ("spec", "seed"): (1, 2),
    }


def test_data_code_versions_and_results_are_told_of_what_was_published(p: SmallPlatform) -> None:
    def trained(name: str, recipe: str, letter: str, loss: float, torch: str) -> None:
        job = p.one(f"kind: train\nname: {name}\nrecipe: {recipe}\n")
        card = {"code_version": "0.1.0", "versions": {"torch": torch, "numpy": "2"}, "steps": 10}
        model = {"digest": letter * 64, "key": f"models/{TENANT}/{letter * 64}", "data_digest": letter * 64}
        p.trainer(p.open(job)).publish(card=card, metrics={"loss": loss, "same": 1.0}, **model)

    trained("first", str(CODE), "1", 0.5, "2.12")
    trained("second", str(CODE._replace(digest="b" * 64)), "2", 0.25, "2.13")

    assert between(p, "first", "second") == {
        ("data", "digest"): ("1" * 64, "2" * 64),
        ("code", "recipe"): ("a" * 64, "b" * 64),
        ("versions", "torch"): ("2.12", "2.13"),
        ("result", "model digest"): ("1" * 64, "2" * 64),
        ("result", "metrics.loss"): (0.5, 0.25),
    }


def test_one_that_has_no_result_yet_has_nothing_there(p: SmallPlatform) -> None:
    p.trained("first", {"metrics": {"loss": 0.5}})
    p.one(train("second"))

    found = between(p, "first", "second")

    assert found["result", "state"] == ("succeeded", "queued")
    assert found["result", "metrics.loss"] == (0.5, None)


def test_generate_jobs_differ_by_the_model_that_they_drew_from(p: SmallPlatform) -> None:
    p.trained("digits")
    p.generating(generate("first", model="noise@1"))
    p.generating(generate("second", model="digits@1"))

    found = between(p, "first", "second")

    assert found["model", "version"] == ("noise@1", "digits@1")
    assert ("model", "digest") in found


def test_a_job_that_is_not_there_is_told(p: SmallPlatform) -> None:
    p.one(train("first"))

    with pytest.raises(NotFound, match="'nobody'"):
        diff(p.w, TENANT, "first", "nobody")
