"""Evaluate jobs from submit to what is kept on the version: pinned, fenced, once, and for good."""

from __future__ import annotations

from typing import Any

import pytest
from fake_node import TrainNode
from small_platform import TENANT, SmallPlatform, train

from genplatform.catalog import problems
from genplatform.domain import layout
from genplatform.domain.job import JobKind
from genplatform.errors import BadRequest, BadSpec, Fenced, NotFound
from genplatform.services import cancel, fold, models, nodes, pause, resume, retry

EVALUATE = "kind: evaluate\nname: {name}\nmodel: {model}\nsamples: 128\n"
FOUND = {
    "metrics": {"recall": {"value": 0.9, "better": "higher", "about": "a share", "anchors": {"held_out": 0.97}}},
    "anchors": {"held_out": "real pictures"},
    "feature_space": {"digest": "f" * 64},
    "data_digest": "d" * 64,
    "samples": 128,
    "seed": 0,
}


def evaluate(name: str = "e", model: str = "digits", more: str = "") -> str:
    return EVALUATE.format(name=name, model=model) + more


def publish(p: SmallPlatform, node: TrainNode, found: Any = FOUND) -> Any:
    said = {"kind": "evaluation"} | node.run | {"evaluation": found}
    return nodes.publish(p.w, node.grant, said)["model"]


def judging(p: SmallPlatform, text: str = "") -> tuple[str, TrainNode]:
    e = p.one(text or evaluate())
    node = p.trainer(p.open(e))
    node.start()
    return e, node


def found_of(p: SmallPlatform, ref: str) -> list[dict[str, Any]]:
    return list(models.show(p.w, TENANT, ref)["evaluations"])


def test_what_a_job_found_is_kept_on_the_version_and_it_succeeds(on_each: SmallPlatform) -> None:
    p = on_each
    p.trained("digits")
    e, node = judging(p)

    assert publish(p, node) == "digits@1"

    job = p.job(e)
    assert (job["kind"], job["state"], job["model"]) == ("evaluate", "succeeded", "digits@1")
    assert (job["progress"]["done"], job["progress"]["unit"]) == (128, "samples")
    (found,) = found_of(p, "digits@1")
    assert found == {"job_id": e, "created_at": "2027-01-15T08:00:00.000Z"} | FOUND
    assert problems(p.w.catalog.engine) == []


def test_the_newest_evaluation_comes_first(p: SmallPlatform) -> None:
    p.trained("digits")
    jobs = []
    for name in ("one", "two"):
        e, node = judging(p, evaluate(name))
        publish(p, node)
        jobs.append(e)

    assert [one["job_id"] for one in found_of(p, "digits@1")] == jobs[::-1]


def test_an_evaluation_told_again_because_the_answer_was_lost_is_kept_once(p: SmallPlatform) -> None:
    p.trained("digits")
    _, node = judging(p)

    assert [publish(p, node), publish(p, node)] == ["digits@1", "digits@1"]

    assert len(found_of(p, "digits@1")) == 1


def test_a_run_that_was_taken_for_dead_keeps_nothing(p: SmallPlatform) -> None:
    p.trained("digits")
    e, zombie = judging(p)
    p.lose(e)
    node = p.trainer(p.open(e))
    node.start()
    with pytest.raises(Fenced):
        publish(p, zombie)

    publish(p, node)

    assert len(found_of(p, "digits@1")) == 1


def test_a_job_stays_with_the_version_that_it_began_with(p: SmallPlatform) -> None:
    p.trained("digits")
    e, _ = judging(p, evaluate(model="digits@latest"))
    p.trained("digits")
    p.lose(e)

    order = p.open(e).order

    assert (order["model"]["name"], order["model"]["version"]) == ("digits", 1)


def test_a_retried_evaluation_judges_the_same_version(p: SmallPlatform) -> None:
    p.trained("digits")
    e, node = judging(p)
    node.fail()
    p.trained("digits")

    (again,) = retry.retry(p.w, TENANT, e)["jobs"]

    assert p.open(again["id"]).order["model"]["version"] == 1


def test_an_evaluation_waits_for_the_job_that_makes_its_model(p: SmallPlatform) -> None:
    t, e = p.submit(train("digits") + "---\n" + evaluate(more="needs: [digits]\n"))
    assert p.state(e) == "waiting"

    p.trainer(p.open(t)).publish()

    opened = p.open(e)
    assert (opened.kind, opened.pool, opened.order["model"]["version"]) == (JobKind.EVALUATE, None, 1)


def test_an_evaluation_is_ordered_as_it_was_asked_for(p: SmallPlatform) -> None:
    p.trained("digits")
    more = "seed: 5\nmetrics: [recall]\ndata: {source: digits}\nsplit: {train: 0.5, validation: 0.5, test: 0.0}\n"

    order = p.open(p.one(evaluate(more=more))).order

    assert (order["seed"], order["metrics"], order["samples"]) == (5, ["recall"], 128)
    assert (order["data"]["source"], order["split"]["train"]) == ("digits", 0.5)


def test_an_evaluation_says_how_far_it_is(p: SmallPlatform) -> None:
    p.trained("digits")
    e, node = judging(p)
    node.report(progress={"done": 64, "total": 128, "unit": "samples", "rate": None})

    fold.fold(p.w, p.term())

    assert (p.job(e)["progress"]["done"], p.job(e)["progress"]["total"]) == (64, 128)


def test_an_evaluation_is_cancelled_and_paused_like_any_job(p: SmallPlatform) -> None:
    p.trained("digits")
    e, node = judging(p)
    pause.pause(p.w, TENANT, e)
    assert node.heartbeat()[0]["reason"] == "pause"
    node.release("pause")
    assert p.state(e) == "paused"
    resume.resume(p.w, TENANT, e)
    node = p.trainer(p.open(e))
    node.start()

    cancel.cancel(p.w, TENANT, e)
    with pytest.raises(Fenced):
        publish(p, node)
    node.release("cancel")

    assert (p.state(e), found_of(p, "digits@1")) == ("cancelled", [])


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"metrics": {"recall": {"anchors": {}}}},
        {"metrics": {"recall": {"value": float("nan")}}},
        {"metrics": {"recall": {"value": 1.0, "anchors": {"held_out": float("inf")}}}},
    ],
)
def test_what_is_no_evaluation_is_refused_and_changes_nothing(p: SmallPlatform, found: Any) -> None:
    p.trained("digits")
    e, node = judging(p)

    with pytest.raises(BadRequest):
        publish(p, node, found)

    assert (p.state(e), found_of(p, "digits@1")) == ("running", [])


def test_a_training_is_not_ended_by_an_evaluation(p: SmallPlatform) -> None:
    t = p.one(train())
    node = p.trainer(p.open(t))
    node.start()

    with pytest.raises(Fenced):
        publish(p, node)

    assert p.state(t) == "running"


def test_an_evaluation_is_not_ended_by_a_model(p: SmallPlatform) -> None:
    p.trained("digits")
    e, node = judging(p)

    with pytest.raises(Fenced):
        node.publish()

    assert (p.state(e), found_of(p, "digits@1")) == ("running", [])


def test_a_model_may_come_with_what_was_found_of_it(p: SmallPlatform) -> None:
    t = p.one(train("digits", "evaluate: true\n"))
    opened = p.open(t)

    p.trainer(opened).publish(evaluation=FOUND)

    assert opened.order["evaluate"] == {"metrics": [], "samples": 2000}
    (found,) = found_of(p, "digits@1")
    assert (found["job_id"], found["metrics"]) == (t, FOUND["metrics"])
    assert problems(p.w.catalog.engine) == []


def test_the_last_sheet_of_a_versions_training_is_its_own(p: SmallPlatform) -> None:
    t = p.one(train("digits"))
    node = p.trainer(p.open(t))
    node.start()
    for step, extension in ((50, "png"), (100, "png"), (150, "txt")):  # a text is no picture
        stored = p.w.store.put_bytes(layout.sheet(node.key, step, extension), f"sheet {step}".encode())
        sheet = {"kind": "sheet", "key": stored.key, "sha256": stored.sha256, "size": stored.size, "step": step}
        nodes.artifact(p.w, node.grant, node.run | sheet)
    node.publish()

    assert models.sheet(p.w, TENANT, "digits@1") == b"sheet 100"
    with pytest.raises(NotFound, match="no sheet of sample pictures of noise@1"):
        models.sheet(p.w, TENANT, "noise@1")


def test_a_model_that_nobody_has_is_not_judged(p: SmallPlatform) -> None:
    with pytest.raises(BadSpec, match="no model 'digits'"):
        p.submit(evaluate())
