"""A pool's worker over real HTTP and a real store: which bytes, under which names, published how."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genplatform.domain.seeds import item_seed
from genplatform.store import Store
from genworkers.generating.actor import PoolActor
from genworkers.models import model_digest
from genworkers.recipes.gan import Gan
from genworkers.recipes.noise import Noise
from genworkers.training.actor import RunActor

Platform = Any  # conftest.FakePlatform, which an importlib-mode test cannot import
Order = Callable[..., dict[str, Any]]

NOISE = {"height": 8, "width": 8, "channels": 1}
NOISE_MODEL = {
    "name": "noise",
    "version": 1,
    "digest": model_digest("noise", NOISE, None),
    "key": "",
    "recipe": "noise",
    "modality": "image",
    "config": NOISE,
    "tile": 64,
}


@pytest.fixture
def pool_order(store: Store) -> Order:
    def make(url: str, **changes: Any) -> dict[str, Any]:
        return {
            "tenant": "default",
            "pool": "p1",
            "actor": "pool/default/p1/1",
            "api_url": url,
            "token": "pool:default:p1:signature",
            "store_url": store.url,
            "model": NOISE_MODEL,
            "max_claims": 4,
            "idle_seconds": 0.1,
            "heartbeat_seconds": 0.02,
            "threads": 1,
        } | changes

    return make


def shard(number: int, start: int, count: int, **changes: Any) -> dict[str, Any]:
    lineage = {
        "job": "j_abc",
        "name": "many",
        "model": "noise@1",
        "model_digest": NOISE_MODEL["digest"],
        "data_digest": None,
        "recipe": "noise",
        "code_version": "0.1.0",
    }
    order = {"tenant": "default", "job_id": "j_abc", "run": 1, "shard": number, "claim": 1, "start": start}
    more = {"count": count, "seed": 7, "format": "png", "batch_size": None, "cond": None, "lineage": lineage}
    return order | more | changes


def offer(platform: Platform, *batches: list[dict[str, Any]]) -> None:
    """Answer claims with these batches, one after the other, then with nothing."""
    left = list(batches)
    platform.answers["/claim"] = lambda body: (200, {"shards": left.pop(0) if left else []})
    platform.answers["/publish"] = lambda body: (
        200,
        {"results": [{k: s[k] for k in ("job_id", "shard", "claim")} | {"published": True} for s in body["shards"]]},
    )


def work(order: dict[str, Any]) -> str:
    actor = PoolActor(order)
    actor.start()
    return actor.join()


def manifest(store: Store, key: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in store.read_bytes(key).decode().splitlines()]


def items(store: Store, platform: Platform) -> dict[int, dict[str, Any]]:
    shards = [s for body in platform.bodies("/publish") for s in body["shards"]]
    return {item["index"]: item for s in shards for item in manifest(store, s["manifest"]["key"])}


def test_a_shards_pictures_manifest_and_publication_fit_together(
    platform: Platform, store: Store, pool_order: Order
) -> None:
    offer(platform, [shard(2, 128, 70, claim=3)])

    assert work(pool_order(platform.url)) == "idle"

    (body,) = platform.bodies("/publish")
    (told,) = body["shards"]
    folder = "outputs/default/j_abc/shard-000002.r1.c3"
    assert body["kind"] == "shards"
    assert {k: told[k] for k in ("job_id", "run", "shard", "claim", "count", "failed")} == {
        "job_id": "j_abc", "run": 1, "shard": 2, "claim": 3, "count": 70, "failed": 0,
    }  # fmt: skip
    assert told["manifest"]["key"] == f"{folder}/manifest.jsonl"
    assert told["manifest"]["sha256"] == hashlib.sha256(store.read_bytes(told["manifest"]["key"])).hexdigest()
    assert told["bytes"] == sum(len(store.read_bytes(key)) for key in store.list(folder))
    lines = manifest(store, told["manifest"]["key"])
    assert [line["index"] for line in lines] == list(range(128, 198))
    assert {line["path"].split("/")[0] for line in lines} == {"shard-000002.r1.c3"}
    for line in lines:
        data = store.read_bytes(f"outputs/default/j_abc/{line['path']}")
        assert hashlib.sha256(data).hexdigest() == line["sha256"] == line["files"][0]["sha256"]
        with Image.open(io.BytesIO(data)) as picture:
            pixels = np.asarray(picture)
            origin = json.loads(picture.text["genctl"])
        assert pixels.shape == (8, 8)
        assert hashlib.sha256(pixels.tobytes()).hexdigest() == line["files"][0]["payload_sha256"]
        assert line["seed"] == item_seed(7, line["index"])
        assert origin == {
            "job": "j_abc", "item": line["index"], "seed": line["seed"], "model": "noise@1",
            "model_digest": NOISE_MODEL["digest"], "data_digest": None, "recipe": "noise", "code_version": "0.1.0",
        }  # fmt: skip


def test_files_are_the_same_however_the_job_is_cut_and_whoever_makes_it(
    platform: Platform, new_platform: Callable[[], Platform], store: Store, pool_order: Order
) -> None:
    other = new_platform()
    offer(platform, [shard(0, 0, 200)])
    offer(other, [shard(0, 0, 64, run=2), shard(1, 64, 128, run=2)], [shard(2, 192, 8, run=2, claim=5)])

    work(pool_order(platform.url))
    work(pool_order(other.url))

    one, two = items(store, platform), items(store, other)
    assert sorted(one) == sorted(two) == list(range(200))
    assert [one[i]["sha256"] for i in range(200)] == [two[i]["sha256"] for i in range(200)]


def test_small_shards_of_many_jobs_are_drawn_in_one_pass_and_are_what_they_would_be_alone(
    platform: Platform,
    new_platform: Callable[[], Platform],
    store: Store,
    pool_order: Order,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passes: list[int] = []
    draw = Noise.sample

    def counted(recipe: Noise, modules: Any, seeds: Any, cond: Any) -> Any:
        passes.append(len(seeds))
        return draw(recipe, modules, seeds, cond)

    monkeypatch.setattr(Noise, "sample", counted)
    alone = new_platform()
    shards = [shard(n, n * 3, 3, job_id="j_ab" + "cde"[n % 3], claim=n + 1, seed=n) for n in range(10)]
    offer(platform, shards)
    offer(alone, *([one | {"run": 2}] for one in shards))

    work(pool_order(platform.url))
    together = list(passes)
    work(pool_order(alone.url))

    one, two = items(store, platform), items(store, alone)
    assert together == [64]
    assert len(passes) == 1 + 10
    assert sorted(one) == sorted(two) == list(range(30))
    assert [one[i]["sha256"] for i in range(30)] == [two[i]["sha256"] for i in range(30)]
    assert len(platform.bodies("/publish")) == 1
    assert platform.bodies("/claim")[0]["max_items"] == 64


def test_a_trained_model_draws_the_same_in_any_shard(
    platform: Platform, new_platform: Callable[[], Platform], store: Store, pool_order: Order, run_order: Order
) -> None:
    trainer = RunActor(run_order(platform.url, budget={"steps": 5}))
    trainer.start()
    assert trainer.join() == "published"
    model = platform.bodies("/publish")[0]["model"] | {"name": "digits-gan", "version": 1}
    one, two = new_platform(), new_platform()
    offer(one, [shard(0, 0, 100)])
    offer(two, [shard(0, 0, 1, run=2), shard(1, 1, 99, run=2)])

    assert [work(pool_order(p.url, model=model)) for p in (one, two)] == ["idle", "idle"]

    made = [{i: item["files"][0]["payload_sha256"] for i, item in items(store, p).items()} for p in (one, two)]
    assert made[0] == made[1]
    assert len(set(made[0].values())) > 90


def test_a_worker_leaves_after_it_was_idle(platform: Platform, pool_order: Order) -> None:
    assert work(pool_order(platform.url)) == "idle"

    claim = platform.bodies("/claim")[0]
    assert (claim["worker"], claim["max"]) == ("pool/default/p1/1", 4)
    assert 0 < claim["wait_seconds"] <= 0.1
    assert platform.bodies("/publish") == []


def test_a_worker_that_is_asked_to_stop_claims_no_more(platform: Platform, pool_order: Order) -> None:
    offer(platform, *[[shard(n, n * 64, 64)] for n in range(10_000)])
    actor = PoolActor(pool_order(platform.url))
    actor.start()
    platform.wait_for(lambda: len(platform.bodies("/publish")) >= 2)

    actor.stop("shutdown")

    assert actor.join() == "stopped"
    published = [s["shard"] for b in platform.bodies("/publish") for s in b["shards"]]
    assert published == list(range(len(published)))


@pytest.mark.parametrize(("reason", "which"), [("lost", 1), ("cancel", None)])
def test_a_shard_nobody_wants_any_more_leaves_nothing(
    platform: Platform, store: Store, pool_order: Order, monkeypatch: pytest.MonkeyPatch, reason: str, which: int | None
) -> None:
    heard = threading.Event()

    def beat(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if not body["claims"]:
            return 200, {"stop": []}
        if any(c["shard"] == 1 for c in body["claims"]) and drawing.is_set():
            answered.append(body)
            if len(answered) > 1:  # the answer before this one has been heard
                heard.set()
            return 200, {"stop": [{"job_id": "j_abc", "run": 1, "shard": which, "reason": reason}]}
        return 200, {"stop": []}

    answered: list[dict[str, Any]] = []
    drawing = threading.Event()
    draw = Noise.sample

    def slowly(recipe: Noise, modules: Any, seeds: Any, cond: Any) -> Any:
        if item_seed(7, 64) in seeds.tolist():
            drawing.set()
            assert heard.wait(20)
        return draw(recipe, modules, seeds, cond)

    monkeypatch.setattr(Noise, "sample", slowly)
    offer(platform, [shard(0, 0, 64), shard(1, 64, 64)])
    platform.answers["/heartbeat"] = beat

    assert work(pool_order(platform.url)) == "idle"

    published = [s["shard"] for b in platform.bodies("/publish") for s in b["shards"]]
    folders = {key.split("/")[3] for key in store.list("outputs")}
    assert 1 not in published
    assert "shard-000001.r1.c1" not in folders
    assert platform.bodies("/failed") == []


def test_a_worker_whose_token_opens_nothing_any_more_ends(platform: Platform, pool_order: Order) -> None:
    """The record was restored from a backup: it will take nothing of what was started before."""
    offer(platform, [])
    platform.answers["/heartbeat"] = lambda _: (401, {"code": "unauthorized", "detail": "No valid token."})

    assert work(pool_order(platform.url, idle_seconds=60.0)) == "stopped"


def test_a_refused_publication_removes_nothing(platform: Platform, store: Store, pool_order: Order) -> None:
    """After a repeated request a refusal may mean that the first one was taken."""
    offer(platform, [shard(0, 0, 64)])
    refusal = {"job_id": "j_abc", "shard": 0, "claim": 1, "published": False, "reason": "Not the current one."}
    platform.answers["/publish"] = lambda body: (200, {"results": [refusal]})

    assert work(pool_order(platform.url)) == "idle"

    assert len(store.list("outputs")) == 65


def test_an_error_in_a_shard_is_told_with_its_claim_and_ends_the_worker_that_hands_the_others_back(
    platform: Platform, store: Store, pool_order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = Noise.sample

    def break_at_shard_one(recipe: Noise, modules: Any, seeds: Any, cond: Any) -> Any:
        if item_seed(7, 64) in seeds.tolist():
            raise MemoryError
        return draw(recipe, modules, seeds, cond)

    monkeypatch.setattr(Noise, "sample", break_at_shard_one)
    offer(platform, [shard(0, 0, 64), shard(1, 64, 64, claim=2), shard(2, 128, 64)])

    assert work(pool_order(platform.url)) == "failed"

    failed, given_back = platform.bodies("/failed")
    assert {k: failed[k] for k in ("job_id", "run", "shard", "claim")} == {
        "job_id": "j_abc", "run": 1, "shard": 1, "claim": 2,
    }  # fmt: skip
    assert failed["cause"] == "out_of_memory"
    assert (given_back["shard"], given_back["claim"], given_back["cause"]) == (2, 1, "preempted")
    assert [s["shard"] for b in platform.bodies("/publish") for s in b["shards"]] == [0]
    assert "shard-000001.r1.c2" not in {key.split("/")[3] for key in store.list("outputs")}


def test_an_unexpected_error_is_told_with_its_place(
    platform: Platform, pool_order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    def divide(recipe: Noise, modules: Any, seeds: Any, cond: Any) -> Any:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(Noise, "sample", divide)
    offer(platform, [shard(0, 0, 64)])

    work(pool_order(platform.url))

    (failed,) = platform.bodies("/failed")
    assert failed["message"] == "ZeroDivisionError: division by zero"
    assert "in divide, test_pool_actor.py, line " in failed["hint"]
    assert "the run's log" not in failed["hint"]


def test_a_format_the_recipe_does_not_write_fails_that_shard_alone(platform: Platform, pool_order: Order) -> None:
    offer(platform, [shard(0, 0, 64, format="glb"), shard(1, 64, 64)])

    assert work(pool_order(platform.url)) == "idle"

    (failed,) = platform.bodies("/failed")
    assert (failed["shard"], failed["cause"]) == (0, "user_error")
    assert "glb" in failed["message"]
    assert [s["shard"] for b in platform.bodies("/publish") for s in b["shards"]] == [1]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (NOISE_MODEL | {"digest": "0" * 64}, "is not what was published"),
        (NOISE_MODEL | {"recipe": "os:system"}, "No recipe is named"),
        (NOISE_MODEL | {"recipe": "gan", "config": Gan.Config().model_dump(), "key": "models/x"}, "no object"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_told_to_who_waits_for_it(
    platform: Platform, pool_order: Order, model: dict[str, Any], message: str
) -> None:
    offer(platform, [shard(0, 0, 64), shard(1, 64, 64)])

    assert work(pool_order(platform.url, model=model)) == "failed"

    failed = platform.bodies("/failed")
    assert [f["shard"] for f in failed] == [0, 1]
    assert all(message in f["message"] for f in failed)


def test_a_platform_that_is_away_for_a_while_loses_nothing(platform: Platform, store: Store, pool_order: Order) -> None:
    offer(platform, [shard(0, 0, 64)])
    answers, away = dict(platform.answers), {"/claim": 2, "/publish": 2}

    def at(door: str) -> Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]:
        def answer(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
            away[door] -= 1
            return (503, {}) if away[door] >= 0 else answers[door](body)

        return answer

    for door in away:
        platform.answers[door] = at(door)

    assert work(pool_order(platform.url)) == "idle"

    assert sorted(items(store, platform)) == list(range(64))


def test_no_scratch_is_left(
    platform: Platform, pool_order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    offer(platform, [shard(0, 0, 64)])

    work(pool_order(platform.url))

    assert list(scratch.iterdir()) == []


def test_a_worker_sweeps_what_killed_ones_left_and_leaves_nothing_itself(
    platform: Platform, store: Store, pool_order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    (temporary / "genctl-scratch-pool-killed" / "shard-x").mkdir(parents=True)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    offer(platform, [shard(0, 0, 3)])

    assert work(pool_order(platform.url)) == "idle"

    assert len(items(store, platform)) == 3
    assert list(temporary.iterdir()) == []
