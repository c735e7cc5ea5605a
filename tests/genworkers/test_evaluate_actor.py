"""An evaluate Run from its order to what is kept on the version: over real HTTP, real services and a real store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from small_platform import TENANT, SmallPlatform

from genplatform.engine.inline import InlineEngine
from genplatform.engine.seam import EVALUATE_ACTOR
from genplatform.services import models, nodes
from genplatform.store import Store
from genworkers.judging import features, report
from genworkers.judging.actor import EvaluateActor
from genworkers.models import model_digest
from genworkers.sampler import Sampler
from genworkers.training import loop
from genworkers.training.actor import RunActor

Platform = Any  # conftest.FakePlatform, which an importlib-mode test cannot import
Order = Callable[..., dict[str, Any]]

EVALUATE = "kind: evaluate\nname: e\nmodel: noise@1\ndata: {source: digits}\nsamples: 64\n"


@pytest.fixture(autouse=True)
def _a_quick_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "STEPS", 5)


@pytest.fixture
def p(sqlite_url: str, tmp_path: Path) -> Iterator[SmallPlatform]:
    made = SmallPlatform(sqlite_url, tmp_path)
    yield made
    made.close()


@pytest.fixture
def evaluate_order(run_order: Order) -> Order:
    """Make an EvaluateActor's order of the built-in noise."""

    def make(url: str, **changes: Any) -> dict[str, Any]:
        noise = {"height": 8, "width": 8, "channels": 1}
        model = {"name": "noise", "version": 1, "digest": model_digest("noise", noise, None), "key": None}
        model |= {"recipe": "noise", "modality": "image", "config": noise, "tile": 64}
        asked = {"data": {"source": "digits"}, "split": None, "metrics": [], "samples": 64, "seed": 0, "folders": []}
        return run_order(url) | {"model": model} | asked | changes

    return make


def run(order: dict[str, Any], actor: type[Any] = EvaluateActor) -> str:
    one = actor(order)
    one.start()
    return str(one.join())


def test_what_is_found_of_a_model_is_kept_on_its_version(platform: Platform, p: SmallPlatform) -> None:
    e = p.one(EVALUATE)
    opened = p.open(e)
    node = p.trainer(opened)
    platform.answers["/started"] = lambda body: (200, nodes.started(p.w, node.grant, body))
    published = threading.Event()

    def publish(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        answer = nodes.publish(p.w, node.grant, body)
        published.set()
        return 200, answer

    platform.answers["/publish"] = publish

    engine = InlineEngine()
    engine.start(opened.key.actor, EVALUATE_ACTOR, opened.order | {"api_url": platform.url}, cpus=1, gpus=0)
    assert published.wait(100)

    job = p.job(e)
    assert (job["state"], job["model"], job["progress"]["done"]) == ("succeeded", "noise@1", 64)
    (found,) = models.show(p.w, TENANT, "noise@1")["evaluations"]
    assert (found["job_id"], found["samples"], found["data"]) == (e, 64, "digits")
    distance = found["metrics"]["frechet_distance"]
    assert distance["anchors"]["held_out"] < distance["anchors"]["gaussian"] < distance["value"]
    assert "which is not the data it was trained on" in platform.logs
    assert "frechet_distance" in platform.logs


@pytest.mark.parametrize(("reason", "end"), [("shutdown", "released"), ("pause", "released"), ("cancel", "cancelled")])
def test_a_judgement_that_is_asked_to_stop_lets_go(
    platform: Platform, evaluate_order: Order, reason: str, end: str
) -> None:
    actor = EvaluateActor(evaluate_order(platform.url))
    actor.stop(reason)
    actor.start()

    assert actor.join() == end

    (released,) = platform.bodies("/released")
    assert (released["reason"], released["step"]) == (reason, None)
    assert {"/publish", "/failed"} & set(platform.paths()) == set()


def test_a_judgement_that_was_lost_says_nothing(platform: Platform, evaluate_order: Order) -> None:
    platform.refuse("/publish")

    assert run(evaluate_order(platform.url)) == "lost"

    assert {"/failed", "/released"} & set(platform.paths()) == set()


def test_a_model_without_data_of_its_own_needs_some(platform: Platform, evaluate_order: Order) -> None:
    assert run(evaluate_order(platform.url, data=None)) == "failed"

    (failed,) = platform.bodies("/failed")
    assert failed["cause"] == "user_error"
    assert "noise@1 does not say what it was trained on" in failed["message"]


def judged(platform: Platform) -> dict[str, Any]:
    return dict(platform.bodies("/publish")[-1]["model"]["evaluation"])


def test_a_training_that_is_to_be_judged_publishes_what_a_job_of_its_own_would_find(
    platform: Platform, new_platform: Callable[[], Platform], store: Store, run_order: Order, evaluate_order: Order
) -> None:
    plain = new_platform()
    run(run_order(plain.url), RunActor)

    run(run_order(platform.url, evaluate={"samples": 64, "metrics": []}), RunActor)

    model = platform.bodies("/publish")[-1]["model"]
    assert model["digest"] == plain.bodies("/publish")[-1]["model"]["digest"]
    assert plain.bodies("/publish")[-1]["model"]["evaluation"] is None
    other = new_platform()
    ref = {name: model[name] for name in ("digest", "key", "recipe", "modality", "config", "tile")}
    order = evaluate_order(other.url, model=ref | {"name": "digits-gan", "version": 1}, data=None)
    assert run(order) == "published"
    assert other.bodies("/publish")[-1]["evaluation"] == judged(platform)
    assert "the data it was trained on" in other.logs


def test_a_model_that_cannot_be_judged_is_published_all_the_same(platform: Platform, run_order: Order) -> None:
    order = run_order(platform.url, evaluate={"samples": 64, "metrics": ["bits_per_dim"]})

    assert run(order, RunActor) == "published"

    assert judged_or_none(platform) is None
    assert "It was not judged: The metric 'bits_per_dim' cannot be taken" in platform.logs


def test_what_fails_while_it_is_judged_costs_no_model(
    platform: Platform, run_order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("not enough memory: you tried to allocate 9 GB")

    monkeypatch.setattr(Sampler, "draw", fail)
    order = run_order(platform.url, evaluate={"samples": 64, "metrics": []})
    monkeypatch.setattr(loop._Loop, "_show", lambda self: None)

    assert run(order, RunActor) == "published"

    assert judged_or_none(platform) is None
    assert "It was not judged: RuntimeError: not enough memory" in platform.logs


@pytest.mark.parametrize(
    ("reason", "end"), [("stalled", "published"), ("deadline", "published"), ("pause", "released")]
)
def test_a_training_without_time_to_be_judged_is_published_and_one_that_pauses_goes_on_later(
    platform: Platform, run_order: Order, monkeypatch: pytest.MonkeyPatch, reason: str, end: str
) -> None:
    actor = RunActor(run_order(platform.url, evaluate={"samples": 64, "metrics": []}))
    begin = report.Watch.at

    def at(watch: report.Watch, done: int, total: int) -> None:
        actor.stop(reason)
        begin(watch, done, total)

    monkeypatch.setattr(report.Watch, "at", at)
    actor.start()

    assert actor.join() == end

    assert ("/publish" in platform.paths()) == (end == "published")
    assert (platform.paths().count("/released") == 1) == (end == "released")


def judged_or_none(platform: Platform) -> Any:
    return platform.bodies("/publish")[-1]["model"]["evaluation"]
