"""Large job files through the door: how much, how many at a time, how slowly, and found again by their key."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from genplatform.api import told
from genplatform.api.app import create_app
from genplatform.api.uploads import LARGE, LARGE_AT_ONCE, Bodies
from genplatform.domain.keys import JobKey
from genplatform.errors import BadRequest
from genplatform.queues.memory import MemoryQueues
from genplatform.services.context import Effects, Wiring
from genplatform.services.submit import Progress

JSON = "application/json"
LINES = "application/x-ndjson"
Message = dict[str, Any]
HEAD = {
    "type": "http",
    "method": "POST",
    "path": "/api/v1/jobs",
    "raw_path": b"/api/v1/jobs",
    "query_string": b"",
    "headers": [(b"content-type", b"application/json")],
}


def documents(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"kind": "generate", "name": f"g{n}", "model": "noise@1", "count": 9, **more} for n in range(count)]


def test_a_submission_is_found_by_its_key_and_read_page_by_page(api: TestClient) -> None:
    body = "\n".join(json.dumps(one) for one in documents(1500))
    headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": "a/b c"}

    made = api.post("/api/v1/jobs", content=body, headers=headers)
    shown = api.get("/api/v1/submissions/a%2Fb%20c").json()
    rest = api.get("/api/v1/submissions/a%2Fb%20c/jobs", params={"after": made.json()["next"]}).json()

    assert made.status_code == 201
    assert (made.json()["count"], made.json()["key"], len(made.json()["jobs"])) == (1500, "a/b c", 1000)
    assert (shown["key"], shown["count"], shown["states"]) == ("a/b c", 1500, {"queued": 1500})
    assert [job["name"] for job in rest["jobs"]] == [f"g{number}" for number in range(1000, 1100)]
    assert rest["next"] is not None


def lines_of(answer: httpx.Response) -> tuple[list[dict[str, int]], dict[str, Any]]:
    *progress, last = [json.loads(line) for line in answer.text.splitlines()]
    return [one["progress"] for one in progress], last


def test_who_accepts_lines_is_told_how_far_a_submit_is_and_then_the_answer(
    api: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genplatform.api.told.TELL_SECONDS", 0.01)
    headers = {"Content-Type": JSON, "Idempotency-Key": "k", "Accept": LINES}
    body = json.dumps(documents(3000))

    answer = api.post("/api/v1/jobs", content=body, headers=headers)
    again = api.post("/api/v1/jobs", content=body, headers=headers | {"Accept": JSON})

    progress, last = lines_of(answer)
    assert (answer.status_code, answer.headers["content-type"]) == (200, LINES)
    assert (last["status"], last["answer"]) == (201, again.json())
    assert (again.status_code, again.headers["content-type"]) == (201, JSON)
    assert [one["stored"] for one in progress] == sorted(one["stored"] for one in progress)
    assert all(0 <= one["stored"] <= 3000 and 0 <= one["read"] <= 3000 for one in progress)
    assert any(one["read"] for one in progress)


def test_what_is_wrong_is_told_in_the_last_line_with_its_status(api: TestClient) -> None:
    headers = {"Content-Type": JSON, "Idempotency-Key": "k"}
    body = json.dumps(documents(2, cuont=3))

    _, last = lines_of(api.post("/api/v1/jobs", content=body, headers=headers | {"Accept": f"{LINES}, {JSON}"}))
    plain = api.post("/api/v1/jobs", content=body, headers=headers)

    assert (last["status"], last["answer"]) == (plain.status_code, plain.json())
    assert last["answer"]["problems"][0]["path"] == "cuont"


def test_the_dispatcher_hears_of_jobs_whose_submit_was_told(api: TestClient, w: Wiring) -> None:
    made = api.post("/api/v1/jobs", content=json.dumps(documents(2)), headers={"Content-Type": JSON, "Accept": LINES})

    ids = [job["id"] for job in lines_of(made)[1]["answer"]["jobs"]]
    assert w.queues.wait_for_wake(60)
    assert [key.job_id for key in w.queues.take_intake(9)] == ids


def test_a_submit_whose_client_hung_up_goes_on_to_its_end() -> None:
    go_on, done, effects = threading.Event(), threading.Event(), Effects()
    acted: list[str] = []

    def act() -> dict[str, Any]:
        go_on.wait(60)
        acted.append("committed")
        return {}

    async def hang_up() -> None:
        lines = told.told(act, 201, Progress(), effects, "req_1").body_iterator
        await anext(lines)
        await lines.aclose()
        go_on.set()
        assert await asyncio.to_thread(done.wait, 60)

    effects.add(lambda: acted.append("hinted"))
    effects.add(done.set)
    asyncio.run(hang_up())

    assert acted == ["committed", "hinted"]


def test_a_bug_is_told_with_the_requests_id_and_nothing_of_the_inside(
    api: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr("genplatform.services.submit.load", fail)
    answer = api.post("/api/v1/jobs", content=b"[]", headers={"Content-Type": JSON, "Accept": LINES})

    _, last = lines_of(answer)
    assert last["status"] == last["answer"]["status"] == 500
    assert answer.headers["x-request-id"] in last["answer"]["hint"]
    assert "secret" not in answer.text


def test_a_key_that_nobody_used_is_not_found(api: TestClient) -> None:
    assert [api.get(f"/api/v1/submissions/none{rest}").status_code for rest in ("", "/jobs")] == [404, 404]


def test_json_may_be_larger_than_yaml(api: TestClient) -> None:
    body = json.dumps(documents(8000, labels={"text": "x" * 100}))
    assert len(body) > LARGE

    as_json = api.post("/api/v1/jobs", content=body, headers={"Content-Type": JSON})
    as_yaml = api.post("/api/v1/jobs", content=body, headers={"Content-Type": "application/yaml"})
    too_large = api.post("/api/v1/jobs", content=b" " * ((64 << 20) + 1), headers={"Content-Type": JSON})

    assert (as_json.status_code, as_json.json()["count"]) == (201, 8000)
    assert as_yaml.status_code == too_large.status_code == 413


def test_a_bad_document_of_many_is_told_with_its_place(api: TestClient) -> None:
    bad = documents(6000, labels={"text": "x" * 190})
    bad[2500]["cuont"] = 1

    answer = api.post("/api/v1/jobs", content=json.dumps(bad, indent=0), headers={"Content-Type": JSON})

    (problem,) = answer.json()["problems"]
    assert answer.status_code == 400
    assert (problem["document"], problem["path"]) == (2500, "cuont")
    assert json.dumps(bad, indent=0).splitlines()[problem["line"] - 1] == '"cuont": 1'
    assert api.get("/api/v1/jobs").json()["jobs"] == []


class Told(MemoryQueues):
    """The queues' twin that notes what had been sent to the client when it was told of jobs."""

    def __init__(self, sent: list[str]) -> None:
        super().__init__(lambda: 0.0)
        self._sent = sent
        self.before: list[str] = []

    def submit(self, jobs: Any) -> None:
        self.before = list(self._sent)
        super().submit(jobs)


def test_a_submit_is_answered_before_redis_is_told(w: Wiring) -> None:
    sent: list[str] = []
    queues = Told(sent)
    body = json.dumps(documents(1)[0]).encode()
    token = (b"authorization", b"Bearer a-token-of-tests")

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message["type"])

    asyncio.run(create_app(replace(w, queues=queues))({**HEAD, "headers": [*HEAD["headers"], token]}, receive, send))

    assert queues.before == ["http.response.start", "http.response.body"]
    assert [type(key) for key in queues.take_intake(10)] == [JobKey]


class Upload:
    """One request's body in pieces, given as they are asked for."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces
        self.asked = 0

    async def __call__(self) -> Message:
        self.asked += 1
        piece, *self._pieces = self._pieces
        return {"type": "http.request", "body": piece, "more_body": bool(self._pieces)}


async def nobody(_: Message) -> None:
    """Send to nobody."""


def test_of_large_bodies_only_a_few_are_read_at_a_time() -> None:
    async def run() -> tuple[list[int], int, int]:
        let_go, arrived = asyncio.Event(), 0
        full = asyncio.Event()

        async def app(_scope: Any, receive: Callable[[], Awaitable[Message]], _send: Any) -> None:
            nonlocal arrived
            assert len((await receive())["body"]) == 3 * LARGE
            arrived += 1
            if arrived == LARGE_AT_ONCE:
                full.set()
            await let_go.wait()

        bodies = Bodies(app)
        uploads = [Upload([b"x" * (2 * LARGE), b"x" * LARGE]) for _ in range(LARGE_AT_ONCE + 2)]
        tasks = [asyncio.create_task(bodies(HEAD, upload, nobody)) for upload in uploads]
        await full.wait()
        await asyncio.wait(tasks, timeout=0.1)  # whoever can go on does
        asked, before = [upload.asked for upload in uploads], arrived
        let_go.set()
        await asyncio.gather(*tasks)
        return asked, before, arrived

    asked, before, after = asyncio.run(run())

    assert sorted(asked) == [1] * 2 + [2] * LARGE_AT_ONCE
    assert (before, after) == (LARGE_AT_ONCE, LARGE_AT_ONCE + 2)


class HungUp(Upload):
    """A request whose client leaves as soon as its body has been sent."""

    async def __call__(self) -> Message:
        return await super().__call__() if self._pieces else {"type": "http.disconnect"}


def test_a_large_body_counts_until_its_submit_is_over_though_its_client_hung_up() -> None:
    go_on = threading.Event()

    def act() -> dict[str, Any]:
        go_on.wait(60)
        return {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await told.told(act, 201, Progress(), Effects(), "req_1")(scope, receive, send)

    async def run() -> tuple[int, int]:
        bodies = Bodies(app)
        gone = [HungUp([b"x" * (2 * LARGE), b"x"]) for _ in range(LARGE_AT_ONCE)]
        tasks = [asyncio.create_task(bodies(HEAD, upload, nobody)) for upload in gone]
        await asyncio.wait(tasks, timeout=0.2)  # whoever can end does
        waiting = HungUp([b"x" * (2 * LARGE), b"x"])
        tasks.append(asyncio.create_task(bodies(HEAD, waiting, nobody)))
        await asyncio.wait(tasks, timeout=0.2)
        before = waiting.asked
        go_on.set()
        await asyncio.gather(*tasks)
        return before, waiting.asked

    before, after = asyncio.run(run())

    assert (before, after) == (1, 2)


def test_a_body_that_stops_coming_is_not_waited_for() -> None:
    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError("never")

    async def app(*_: Any) -> None:
        raise AssertionError("the body never came")

    with pytest.raises(BadRequest, match=r"within 0\.05 seconds"):
        asyncio.run(Bodies(app, seconds=0.05)(HEAD, receive, nobody))
