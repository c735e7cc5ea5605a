"""Compress jobs from submit to the version that they publish: the model's next one, of a parent that stays named."""

from __future__ import annotations

from typing import Any

import pytest
from fake_node import TrainNode
from small_platform import TENANT, SmallPlatform, generate, train

from genplatform.catalog import problems
from genplatform.dispatch.starting import ACTORS
from genplatform.domain.job import JobKind
from genplatform.engine.seam import COMPRESS_ACTOR
from genplatform.errors import BadSpec, Fenced, NotFound
from genplatform.services import fold, models, nodes, retry, runs

SMALLER = "e" * 64
COMPRESS = "kind: compress\nname: {name}\nmodel: {model}\nmethod: int8\nsamples: 128\n"
FOUND = {"metrics": {"recall": {"value": 0.9, "anchors": {"held_out": 0.97, "parent": 0.91}}}}


def compress(name: str = "c", model: str = "digits", more: str = "") -> str:
    return COMPRESS.format(name=name, model=model) + more


def compressing(p: SmallPlatform, text: str = "") -> tuple[str, TrainNode]:
    c = p.one(text or compress())
    node = p.trainer(p.open(c))
    node.start()
    return c, node


def shown(p: SmallPlatform, ref: str) -> dict[str, Any]:
    return dict(models.show(p.w, TENANT, ref))


def test_what_is_compressed_is_the_models_next_version_and_names_its_parent(on_each: SmallPlatform) -> None:
    p = on_each
    p.trained("digits")
    c, node = compressing(p)

    assert node.publish(SMALLER, evaluation=FOUND) == "digits@2"

    job = p.job(c)
    assert (job["kind"], job["state"], job["model"]) == ("compress", "succeeded", "digits@2")
    made = shown(p, "digits@2")
    assert (made["parent"], made["digest"], made["job_id"]) == ("digits@1", SMALLER, c)
    assert made["evaluations"][0]["metrics"]["recall"]["anchors"]["parent"] == 0.91
    assert shown(p, "digits@1")["evaluations"] == []
    assert problems(p.w.catalog.engine) == []


def test_its_order_names_method_model_and_how_it_is_judged(p: SmallPlatform) -> None:
    p.trained("digits")

    opened = p.open(p.one(compress(more="seed: 5\nmetrics: [recall]\n")))

    assert (opened.kind, opened.pool, ACTORS[opened.kind]) == (JobKind.COMPRESS, None, COMPRESS_ACTOR)
    assert (opened.order["method"], opened.order["samples"], opened.order["seed"]) == ("int8", 128, 5)
    assert (opened.order["model"]["name"], opened.order["model"]["version"]) == ("digits", 1)


def test_it_is_drawn_from_by_workers_of_its_own(p: SmallPlatform) -> None:
    p.trained("digits")
    _, node = compressing(p)
    node.publish(SMALLER)

    with p.w.catalog.read() as tx:
        pools = {version.version: runs.pool_of(TENANT, version) for version in tx.models.all(TENANT) if version.key}

    assert len(set(pools.values())) == 2


def test_a_repeated_publication_makes_one_version_and_a_fenced_run_makes_none(p: SmallPlatform) -> None:
    p.trained("digits")
    c, zombie = compressing(p)
    p.lose(c)
    node = p.trainer(p.open(c))
    node.start()
    with pytest.raises(Fenced):
        zombie.publish(SMALLER)

    assert [node.publish(SMALLER), node.publish(SMALLER)] == ["digits@2", "digits@2"]

    with pytest.raises(NotFound):
        shown(p, "digits@3")


def test_a_job_stays_with_the_version_that_it_began_with_and_so_does_its_retry(p: SmallPlatform) -> None:
    p.trained("digits")
    c, node = compressing(p, compress(model="digits@latest"))
    p.trained("digits")
    p.lose(c)
    node = p.trainer(p.open(c))
    node.start()
    node.fail()

    (again,) = retry.retry(p.w, TENANT, c)["jobs"]

    assert node.order["model"]["version"] == 1
    opened = p.open(again["id"])
    assert opened.order["model"]["version"] == 1
    p.trainer(opened).publish(SMALLER)
    assert shown(p, "digits@3")["parent"] == "digits@1"
    assert problems(p.w.catalog.engine) == []


def test_one_file_trains_compresses_and_generates_with_the_smaller_one(p: SmallPlatform) -> None:
    needs = "needs: [{}]\n"
    t, c, g = p.submit(
        "---\n".join(
            [
                train("digits"),
                compress(more=needs.format("digits")),
                generate("g", 64, "digits@latest", needs.format("c")),
            ]
        )
    )
    p.trainer(p.open(t)).publish()

    node = p.trainer(p.open(c))
    node.start()
    node.publish(SMALLER)

    assert p.open(g).order["model"]["digest"] == SMALLER


def test_it_says_how_far_it_is(p: SmallPlatform) -> None:
    p.trained("digits")
    c, node = compressing(p)
    node.report(progress={"done": 64, "total": 128, "unit": "samples", "rate": None})

    fold.fold(p.w, p.term())

    assert (p.job(c)["progress"]["done"], p.job(c)["progress"]["total"]) == (64, 128)


@pytest.mark.parametrize(("model", "said"), [("nobody@1", "no model 'nobody@1'"), ("noise@1", "no weights")])
def test_what_cannot_be_compressed_is_refused_at_submit(p: SmallPlatform, model: str, said: str) -> None:
    with pytest.raises(BadSpec, match=said):
        p.submit(compress(model=model))


def test_a_compression_is_not_ended_by_an_evaluation_of_its_parent(p: SmallPlatform) -> None:
    p.trained("digits")
    c, node = compressing(p)

    with pytest.raises(Fenced):
        nodes.publish(p.w, node.grant, {"kind": "evaluation"} | node.run | {"evaluation": FOUND})

    assert p.state(c) == "running"
