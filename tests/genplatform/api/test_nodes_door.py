"""/internal/v1: a node's whole conversation about a generate job, and what a token does not open."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from fake_node import node_secret
from fastapi import FastAPI
from fastapi.testclient import TestClient

from genplatform.api import internal
from genplatform.api.app import create_app
from genplatform.domain import layout
from genplatform.domain.keys import ClaimKey, JobKey
from genplatform.domain.tokens import PoolGrant, RunGrant, issue
from genplatform.queues.memory import MemoryQueues
from genplatform.services import leadership, runs
from genplatform.services.context import Wiring

Calling = Callable[[FastAPI], TestClient]
TENANT = "default"
LONG = 30.0
PNG = b"\x89PNG of a kind"


def submit(api: TestClient, text: str) -> str:
    made = api.post("/api/v1/jobs", content=text)
    assert made.status_code == 201, made.text
    return str(made.json()["jobs"][0]["id"])


def open_run(w: Wiring, job_id: str) -> runs.OpenedRun:
    term = leadership.lead(w, "the dispatcher")
    assert term is not None
    opened = runs.open_run(w, term, JobKey(TENANT, job_id), workers=1, api_url="http://127.0.0.1:1")
    assert opened is not None
    return opened


class Node:
    """Speaks /internal/v1 with one token."""

    def __init__(self, api: TestClient, token: str) -> None:
        self._api = api
        self._headers = {"Authorization": f"Bearer {token}"}

    def say(self, what: str, body: Any) -> Any:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self._api.post(f"/internal/v1/{what}", content=content, headers=self._headers)


CLAIM = {"worker": "w1", "node": "n1", "max": 4, "wait_seconds": 0}


def test_shards_are_claimed_kept_published_and_read_as_outputs(w: Wiring, api: TestClient) -> None:
    job_id = submit(api, "kind: generate\nname: n\nmodel: noise@1\ncount: 1\nseed: 7\n")
    node = Node(api, open_run(w, job_id).order["token"])

    (order,) = node.say("claim", CLAIM).json()["shards"]
    assert (order["job_id"], order["start"], order["count"], order["seed"]) == (job_id, 0, 1, 7)
    assert node.say("claim", CLAIM).json() == {"shards": []}

    held = {key: order[key] for key in ("job_id", "run", "shard", "claim")}
    assert node.say("heartbeat", {"worker": "w1", "node": "n1", "runs": [], "claims": [held]}).json() == {"stop": []}

    manifest = _put(w, ClaimKey(TENANT, *held.values()))
    published = {"kind": "shards", "shards": [held | {"count": 1, "failed": 0, "manifest": manifest, "bytes": 9}]}
    told = {"job_id": job_id, "shard": order["shard"], "claim": order["claim"]}
    assert node.say("publish", published).json() == {"results": [told | {"published": True, "reason": None}]}
    stale = held | {"claim": held["claim"] + 1, "count": 1, "manifest": manifest}
    assert not node.say("publish", {"kind": "shards", "shards": [stale]}).json()["results"][0]["published"]

    at = f"/api/v1/jobs/{job_id}/outputs"
    assert api.get(at).json()["count"] == 1
    item = api.get(f"{at}/0").json()
    assert item["seed"] == 70
    content = api.get(f"{at}/0/content")
    assert content.content == PNG
    assert content.headers["content-type"] == "image/png"


def _put(w: Wiring, claim: ClaimKey) -> dict[str, Any]:
    path = f"{layout.shard_name(claim)}/000000.png"
    sha256 = hashlib.sha256(PNG).hexdigest()
    file = {"path": path, "sha256": sha256, "payload_sha256": sha256, "mime": "image/png"}
    item = {"index": 0, "custom_id": None, "seed": 70, "cond": None, "status": "ok", "files": [file]}
    line = json.dumps(item | {"path": path, "sha256": sha256, "error": None}).encode() + b"\n"
    w.store.put_bytes(f"{layout.outputs(claim.job)}/{path}", PNG)
    stored = w.store.put_bytes(f"{layout.shard(claim)}/{layout.MANIFEST}", line)
    return {"key": stored.key, "sha256": stored.sha256, "size": stored.size}


def test_bytes_that_call_themselves_a_page_are_not_served_as_one(w: Wiring, api: TestClient) -> None:
    job_id = submit(api, "kind: generate\nname: n\nmodel: noise@1\ncount: 1\n")
    node = Node(api, open_run(w, job_id).order["token"])
    (order,) = node.say("claim", CLAIM).json()["shards"]
    held = {key: order[key] for key in ("job_id", "run", "shard", "claim")}
    claim = ClaimKey(TENANT, *held.values())
    _put(w, claim)
    key = f"{layout.shard(claim)}/{layout.MANIFEST}"
    page = w.store.put_bytes(key, w.store.read_bytes(key).replace(b"image/png", b"text/html"))
    manifest = {"key": page.key, "sha256": page.sha256, "size": page.size}
    node.say("publish", {"kind": "shards", "shards": [held | {"count": 1, "manifest": manifest}]})

    content = api.get(f"/api/v1/jobs/{job_id}/outputs/0/content")

    assert content.status_code == 200
    assert content.headers["content-type"] == "application/octet-stream"
    assert content.headers["x-content-type-options"] == "nosniff"


def test_a_claim_waits_until_there_is_something(w: Wiring, calling: Calling) -> None:
    class Late(MemoryQueues):
        """Has nothing to give the first times it is asked."""

        asked = 0

        def take_shards(self, pool: str, limit: int) -> Any:
            self.asked += 1
            return super().take_shards(pool, limit) if self.asked > 2 else []

    queues = Late(w.clock)
    late = replace(w, queues=queues)
    api = calling(create_app(late))
    job_id = submit(api, "kind: generate\nname: n\nmodel: noise@1\ncount: 1\n")
    node = Node(api, open_run(late, job_id).order["token"])

    answer = node.say("claim", CLAIM | {"wait_seconds": 20})

    assert [s["job_id"] for s in answer.json()["shards"]] == [job_id]
    assert queues.asked == 3


def test_a_claim_that_waits_hears_of_new_shards(w: Wiring, calling: Calling, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()

    class Watched(MemoryQueues):
        def take_shards(self, pool: str, limit: int) -> Any:
            taken = super().take_shards(pool, limit)
            asked.set()
            return taken

    # It would ask by itself only after this test has failed.
    monkeypatch.setattr(internal, "FIRST_PAUSE", 2 * LONG)
    monkeypatch.setattr(internal, "LONGEST_WAIT", 2 * LONG)
    late = replace(w, queues=Watched(w.clock))
    api = calling(create_app(late))
    first = submit(api, "kind: generate\nname: n\nmodel: noise@1\ncount: 1\n")
    node = Node(api, open_run(late, first).order["token"])
    node.say("claim", CLAIM)
    asked.clear()
    second = submit(api, "kind: generate\nname: n\nmodel: noise@1\ncount: 1\n")
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(node.say, "claim", CLAIM | {"wait_seconds": 2 * LONG})
        assert asked.wait(LONG)

        open_run(late, second)

        answer = waiting.result(LONG).json()
    assert [s["job_id"] for s in answer["shards"]] == [second]


def test_a_server_that_stops_ends_the_waiting(w: Wiring, calling: Calling) -> None:
    app = create_app(w)
    node = Node(calling(app), issue(node_secret(w), PoolGrant(TENANT, "p1")))
    app.state.closing.set()

    assert node.say("claim", CLAIM | {"wait_seconds": 20}).json() == {"shards": []}


TRAIN = "kind: train\nname: t\nrecipe: gan\ndata: {source: digits}\nbudget: {steps: 10}\npublish: t\n"


def test_a_run_starts_reports_and_fails(w: Wiring, api: TestClient) -> None:
    job_id = submit(api, TRAIN)
    opened = open_run(w, job_id)
    node = Node(api, opened.order["token"])
    run = {"job_id": job_id, "run": opened.key.run}

    assert node.say("started", run | {"node": "n1", "worker": "w1"}).json() == {}
    assert api.get(f"/api/v1/jobs/{job_id}").json()["state"] == "running"
    said = b'{"job_id":"%s","run":1,"progress":{"done":1,"total":10,"unit":"steps","rate":NaN},' % job_id.encode()
    said += (
        rb'"metrics":[{"step":1,"time":5,"values":{"loss":Infinity}}],"logs":[{"seq":1,"time":5,"text":"a\u0000b"}]}'
    )
    assert node.say("progress", said).json() == {}
    (report,) = w.queues.read_reports(10).entries
    assert report["metrics"][0]["values"] == {"loss": None}
    assert report["logs"][0]["text"] == "a\ufffdb"
    failed = run | {"shard": None, "claim": None, "cause": "user_error", "message": "m", "hint": "h", "traceback": ""}
    assert node.say("failed", failed).json() == {}

    fenced = node.say("started", run | {"node": "n1", "worker": "w1"})

    assert fenced.status_code == 409
    assert fenced.json()["code"] == "fenced"
    assert api.get(f"/api/v1/jobs/{job_id}").json()["state"] == "failed"


RUN = {"job_id": "j_23456789ab", "run": 1}
OTHER_JOB = {"job_id": "j_zzzzzzzzzz", "run": 1}
OTHER_RUN = {"job_id": "j_23456789ab", "run": 2}
CLAIMED = {"shard": 0, "claim": 1}
MANIFEST = {"key": "k", "sha256": "0" * 64, "size": 1}


@pytest.mark.parametrize(
    "speak",
    [
        lambda r: ("started", r | {"node": "n", "worker": "w"}),
        lambda r: ("heartbeat", {"worker": "w", "runs": [RUN, r], "claims": []}),
        lambda r: ("heartbeat", {"worker": "w", "runs": [], "claims": [r | CLAIMED]}),
        lambda r: ("progress", r),
        lambda r: ("artifacts", r | {"kind": "sheet", "key": "k", "sha256": "0" * 64, "size": 1, "step": 1}),
        lambda r: ("publish", r | {"kind": "model", "model": {}}),
        lambda r: ("publish", {"kind": "shards", "shards": [r | CLAIMED | {"count": 1, "manifest": MANIFEST}]}),
        lambda r: ("failed", r | {"cause": "user_error", "message": "m"}),
        lambda r: ("failed", r | CLAIMED | {"cause": "user_error", "message": "m"}),
        lambda r: ("released", r | {"reason": "cancel"}),
    ],
)
def test_a_runs_token_speaks_for_that_run_alone(
    w: Wiring, api: TestClient, speak: Callable[[Any], tuple[str, Any]]
) -> None:
    node = Node(api, issue(node_secret(w), RunGrant(TENANT, RUN["job_id"], 1)))

    for other in (OTHER_JOB, OTHER_RUN, {"job_id": RUN["job_id"], "run": "2"}):
        answer = node.say(*speak(other))

        assert answer.status_code == 401
        assert answer.json()["code"] == "unauthorized"


def test_a_token_of_the_record_before_this_one_opens_nothing(w: Wiring, api: TestClient) -> None:
    job_id = submit(api, TRAIN)
    run = {"job_id": job_id, "run": 1}
    node = Node(api, open_run(w, job_id).order["token"])
    with w.catalog.engine.begin() as connection:
        connection.execute(sa.text("UPDATE identity SET incarnation = 'restored'"))

    answer = node.say("started", run | {"node": "n1", "worker": "w1"})

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert api.get(f"/api/v1/jobs/{job_id}").json()["state"] == "starting"
    again = Node(api, issue(node_secret(w), RunGrant(TENANT, job_id, 1)))
    assert again.say("started", run | {"node": "n1", "worker": "w1"}).status_code == 200


def test_a_runs_token_claims_nothing(w: Wiring, api: TestClient) -> None:
    node = Node(api, issue(node_secret(w), RunGrant(TENANT, RUN["job_id"], 1)))

    assert node.say("claim", CLAIM).status_code == 401


@pytest.mark.parametrize("what", ["started", "heartbeat", "progress", "artifacts", "claim", "publish", "failed"])
def test_a_broken_worker_gets_a_400(w: Wiring, api: TestClient, what: str) -> None:
    node = Node(api, issue(node_secret(w), PoolGrant(TENANT, "p1")))

    for body in (b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"worker": 7, "run": "x", "shards": 7}'):
        assert node.say(what, body).status_code == 400


def test_a_wait_that_is_no_number_waits_not_at_all(w: Wiring, api: TestClient) -> None:
    node = Node(api, issue(node_secret(w), PoolGrant(TENANT, "p1")))

    for wait in (-1, None, 10**400, [1], "soon"):
        assert node.say("claim", CLAIM | {"wait_seconds": wait}).status_code == 400


def test_a_report_may_be_larger_than_a_request_of_a_person(w: Wiring, api: TestClient) -> None:
    node = Node(api, issue(node_secret(w), RunGrant(TENANT, RUN["job_id"], 1)))
    text = "x" * 60_000
    logs = [{"seq": k, "time": 5, "text": text} for k in range(60)]

    assert node.say("progress", RUN | {"logs": logs}).status_code == 200
    assert node.say("progress", RUN | {"logs": logs * 3}).status_code == 413
