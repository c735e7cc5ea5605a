"""The Python client of a genctl platform: one method a route of /api/v1, and waiting.

    from genctl import Client

    client = Client()                       # the local platform, or GENCTL_URL and GENCTL_API_KEY
    [job] = client.submit({"kind": "generate", "model": "noise@1", "count": 10})
    client.wait(job["id"])

Methods return the documents of the API as dicts and lists, and raise the errors of
`genplatform.errors`. The CLI is written on this class and uses nothing else.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from genctl import connection
from genctl.addresses import API, of_job, of_submission
from genctl.jobfiles import LINES, Sent, Spec, Upload, as_body, as_lines, check_length, read_file
from genctl.modelroutes import ModelRoutes, items
from genctl.packing import send_ahead
from genctl.transport import Transport, segment
from genplatform.domain.states import TERMINAL_JOB_STATES
from genplatform.errors import WaitTimedOut
from genplatform.settings import Settings, load

PATIENCE_SECONDS = 10.0
POLL_SECONDS = 1.0
# A hundred thousand jobs are checked and committed before the answer is given.
SUBMIT_SECONDS = 300.0
PAGE = 1000

Json = dict[str, Any]
# Told how many documents of a submit are read, and how many jobs are stored.
Stored = Callable[[int, int], object]


class Client(ModelRoutes):
    """Speak to one platform; usable as a context manager. Not for sharing between threads."""

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        settings: Settings | None = None,
        *,
        patience: float = PATIENCE_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.connection = connection.find(settings or load(), url, api_key)
        self._http = Transport(self.connection, patience=patience, sleep=sleep)
        self._sleep = sleep
        self._clock = clock

    @property
    def url(self) -> str:
        """The platform's origin; its OpenAI surface is `url` + `/v1`."""
        return self.connection.url

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    # Jobs

    def submit(
        self,
        spec: Spec,
        *,
        sets: Sequence[str] = (),
        name: str | None = None,
        queue: str | None = None,
        priority: int | None = None,
        key: str | None = None,
        dry_run: bool = False,
        media_type: str | None = None,
    ) -> list[Json]:
        """Submit a job file and return its jobs, all of them.

        `spec` is one document or several as dicts, the file's text, or a Path to it. `sets`
        are `key=value` overrides. Submitting again with the same `key` is the same jobs;
        without one each call makes its own and keeps it across its retries. `media_type` says
        what the text is, where it is not YAML. For very many jobs see `submit_many`.
        """
        body, natural_type = as_body(spec)
        wish = {"set": list(sets) or None, "name": name, "queue": queue, "priority": priority}
        answer = self._submit(body, media_type or natural_type, key, wish | {"dry_run": dry_run or None})
        made = items(answer, "jobs")
        if answer.get("next") is not None:
            made += self.all_submitted(str(answer["key"]), after=answer["next"])
        return made

    def submit_many(
        self,
        documents: Iterable[Mapping[str, Any]] | Path | bytes,
        *,
        sets: Sequence[str] = (),
        name: str | None = None,
        queue: str | None = None,
        priority: int | None = None,
        key: str | None = None,
        dry_run: bool = False,
        media_type: str | None = None,
        on_progress: Sent | None = None,
        on_stored: Stored | None = None,
    ) -> Json:
        """Submit up to 100,000 jobs in one request, all or none; returns `{"jobs", "next", "count", "key"}`.

        `jobs` are the first of them; `all_submitted(key)` yields them all, `submission(key)`
        tells how they stand. `documents` are dicts, or a Path to a JSON or JSON Lines file, or
        such a file's bytes with their `media_type`. `on_progress` is told how many bytes have
        been sent, and of how many; `on_stored` then again and again how many documents the platform
        has read and how many jobs it has stored, all of which it keeps or none.
        """
        if isinstance(documents, bytes):
            body, natural_type = documents, media_type or LINES
            check_length(body, natural_type, "given")
        else:
            body, natural_type = read_file(documents) if isinstance(documents, Path) else as_lines(documents)
        wish = {"set": list(sets) or None, "name": name, "queue": queue, "priority": priority}
        upload = Upload(body, on_progress)
        return self._submit(upload, media_type or natural_type, key, wish | {"dry_run": dry_run or None}, on_stored)

    def submission(self, key: str) -> Json:
        """Return `{"key", "count", "states": {state: n}, "created_at"}` of what was submitted under that key."""
        return self._http.json("GET", of_submission(key))

    def submitted(self, key: str, *, limit: int | None = None, after: str | None = None) -> Json:
        """Return a page `{"jobs", "next", "count", "key"}` of a submission's jobs, in their order."""
        return self._http.json("GET", of_submission(key, "jobs"), params={"limit": limit, "after": after})

    def all_submitted(self, key: str, after: str | None = None) -> Iterator[Json]:
        """Yield every job of a submission, page by page."""
        while True:
            page = self.submitted(key, limit=PAGE, after=after)
            yield from items(page, "jobs")
            after = page.get("next")
            if after is None:
                return

    def _submit(
        self, body: bytes | Upload, media_type: str, key: str | None, wish: Json, on_stored: Stored | None = None
    ) -> Json:
        headers = {"Content-Type": media_type, "Idempotency-Key": key or uuid.uuid4().hex}
        more: Json = {}
        if isinstance(body, Upload):
            headers["Content-Length"] = str(len(body))
            more = {"answer_seconds": SUBMIT_SECONDS}
        if on_stored is None:
            return self._http.json("POST", f"{API}/jobs", content=body, headers=headers, params=wish, **more)

        def seen(line: Json) -> None:
            progress = line.get("progress")
            if isinstance(progress, dict):
                on_stored(int(progress.get("read") or 0), int(progress.get("stored") or 0))

        return self._http.listen("POST", f"{API}/jobs", seen, content=body, headers=headers, params=wish, **more)

    def jobs(
        self,
        *,
        states: Sequence[str] = (),
        queue: str | None = None,
        all: bool = False,
        limit: int | None = None,
        after: str | None = None,
    ) -> Json:
        """Return a page `{"jobs": [...], "next": ...}`: those not yet over, or `all`, or those in `states`."""
        params = {
            "state": list(states) or None,
            "queue": queue,
            "all": all or None,
            "limit": limit,
            "after": after,
        }
        return self._http.json("GET", f"{API}/jobs", params=params)

    def job(self, ref: str) -> Json:
        """Return the job of that id, unique id prefix, or name (its newest)."""
        return self._http.json("GET", of_job(ref))

    def diff(self, one: str, other: str) -> Json:
        """Return two jobs and in what they differ: `{"jobs": [a, b], "differences": [{part, field, a, b}]}`."""
        return self._http.json("GET", of_job(one, f"diff/{segment(other, 'job')}"))

    def cancel(self, ref: str) -> Json:
        """Ask for a job to be cancelled and return it as it then stands."""
        return self._http.json("POST", of_job(ref, "cancel"))

    def pause(self, ref: str) -> Json:
        """Pause a job and return it: `paused`, or at work with the reason `pausing` until it has let go."""
        return self._http.json("POST", of_job(ref, "pause"))

    def resume(self, ref: str) -> Json:
        """Let a paused job go on and return it as it then stands."""
        return self._http.json("POST", of_job(ref, "resume"))

    def retry(self, ref: str, *, key: str | None = None) -> list[Json]:
        """Do a failed or cancelled job again; return the new job, then those that were cancelled because of it.

        One that waits for its next try goes on now and is returned itself; so is a retry that
        is open. The same `key` is the same jobs; without one each call makes its own.
        """
        headers = {"Idempotency-Key": key or uuid.uuid4().hex}
        return items(self._http.json("POST", of_job(ref, "retry"), headers=headers), "jobs")

    def update(self, ref: str, *, priority: int) -> Json:
        """Give a job that has not ended another priority and return it."""
        return self._http.json("PATCH", of_job(ref), json={"priority": priority})

    def wait(self, ref: str, timeout: float | None = None) -> Json:
        """Wait until a job is over and return it, however it ended.

        Raises WaitTimedOut after `timeout` seconds.
        """
        return self.wait_all([ref], timeout)[0]

    def wait_all(
        self, refs: Sequence[str], timeout: float | None = None, seen: Callable[[Json], object] | None = None
    ) -> list[Json]:
        """Wait until all of these jobs are over and return them in that order.

        `seen` is given each job that is not over, as it stands, again and again.
        """
        begun = self._clock()
        jobs = [self.job(ref) for ref in refs]
        while open_ids := [job["id"] for job in jobs if not is_over(job)]:
            for job in jobs:
                if seen is not None and not is_over(job):
                    seen(job)
            if timeout is not None and self._clock() - begun >= timeout:
                raise WaitTimedOut(
                    f"After {timeout:g} s {len(open_ids)} of {len(jobs)} jobs are not over: {', '.join(open_ids)}.",
                    f"They go on; wait again with `genctl wait {' '.join(open_ids)}`.",
                )
            self._sleep(POLL_SECONDS)
            # From here on by id: a name means its newest job, and that may change meanwhile.
            jobs = [job if is_over(job) else self.job(job["id"]) for job in jobs]
        return jobs

    def events(
        self, ref: str, *, types: Sequence[str] = (), limit: int | None = None, after: str | int | None = None
    ) -> Json:
        """Return a page `{"events": [{id, time, type, data}], "next": ...}`, oldest first."""
        params = {"type": list(types) or None, "limit": limit, "after": after}
        return self._http.json("GET", of_job(ref, "events"), params=params)

    def logs(
        self,
        ref: str,
        *,
        run: int | None = None,
        tail: int | None = None,
        since: float | None = None,
        search: str | None = None,
        limit: int | None = None,
        after: int | None = None,
    ) -> Json:
        """Return `{"lines": [{id, run, rank, stream, time, text}], "next": id}`, oldest first.

        `tail` asks for the last lines only, `since` (seconds since the epoch) for those
        written from then on, `search` for those that hold a text, `after` for those behind a line's id.
        """
        params = {"run": run, "tail": tail, "since": since, "search": search, "limit": limit, "after": after}
        return self._http.json("GET", of_job(ref, "logs"), params=params)

    def artifacts(self, ref: str) -> list[Json]:
        """Return a job's checkpoints, sample sheets and manifest."""
        return items(self._http.json("GET", of_job(ref, "artifacts")), "artifacts")

    def outputs(self, ref: str, *, limit: int | None = None, after: str | int | None = None) -> Json:
        """Return a page `{"job_id", "count", "items", "next"}` of a generate job's items."""
        return self._http.json("GET", of_job(ref, "outputs"), params={"limit": limit, "after": after})

    def all_outputs(self, ref: str) -> Iterator[Json]:
        """Yield every item of a generate job, page by page."""
        after: str | int | None = None
        while True:
            page = self.outputs(ref, after=after)
            yield from items(page, "items")
            if (after := page.get("next")) is None:
                return

    def output(self, ref: str, index: int) -> Json:
        """Return one item, with the `uri` of its first file."""
        return self._http.json("GET", of_job(ref, f"outputs/{int(index)}"))

    def content(self, ref: str, index: int) -> bytes:
        """Return the bytes of one item's first file."""
        return self._http.send("GET", of_job(ref, f"outputs/{int(index)}/content")).content

    def download(self, ref: str, index: int, to: Path) -> str:
        """Write one item's first file to `to`, however large it is; return the SHA-256 of what was written."""
        return self._http.download(of_job(ref, f"outputs/{int(index)}/content"), to)

    # Data

    def upload(self, path: str | Path, on_progress: Sent | None = None, *, dry_run: bool = False) -> str:
        """Send a file, a folder or a pattern's files ahead, unless they are there; return their name for `data.source`.

        `on_progress` is told how many bytes have been sent, and of how many. With `dry_run` nothing is sent.
        """
        return send_ahead(self._http, API, path, on_progress, dry_run=dry_run)

    # Job files

    def schema(self) -> Json:
        """Return the JSON Schema of job files."""
        return self._http.json("GET", f"{API}/schema")

    # Endpoints

    def create_endpoint(self, name: str, model: str, *, min_replicas: int = 1, max_replicas: int | None = None) -> Json:
        """Wish that a model version be served under `name`; another version there is replaced."""
        wish = {
            "name": name,
            "model": model,
            "min_replicas": min_replicas,
            "max_replicas": max_replicas or min_replicas,
        }
        return self._http.json("POST", f"{API}/endpoints", json=wish)

    def endpoints(self) -> list[Json]:
        """Return the endpoints."""
        return items(self._http.json("GET", f"{API}/endpoints"), "endpoints")

    def endpoint(self, name: str) -> Json:
        """Return one endpoint."""
        return self._http.json("GET", f"{API}/endpoints/{segment(name, 'endpoint')}")

    def delete_endpoint(self, name: str) -> Json:
        """Take an endpoint away and return it as it then stands."""
        return self._http.json("DELETE", f"{API}/endpoints/{segment(name, 'endpoint')}")

    def wait_endpoint(self, name: str, timeout: float | None = None) -> Json:
        """Wait until an endpoint is ready, or has failed, and return it. Raises WaitTimedOut."""
        begun = self._clock()
        while True:
            endpoint = self.endpoint(name)
            if endpoint.get("state") in ("ready", "failed"):
                return endpoint
            if timeout is not None and self._clock() - begun >= timeout:
                raise WaitTimedOut(
                    f"Endpoint {name} is still {endpoint.get('state')} after {timeout:g} s.",
                    f"It is still being worked on; see how far it is with `genctl endpoints show {name}`.",
                )
            self._sleep(POLL_SECONDS)

    def images(self, model: str, prompt: str = "", *, n: int = 1, seed: int | None = None) -> Json:
        """Generate pictures with an endpoint through the OpenAI surface; the answer is OpenAI's."""
        wish = {"model": model, "prompt": prompt, "n": n}
        return self._http.json("POST", "/v1/images/generations", json=wish if seed is None else {**wish, "seed": seed})

    # The platform

    def status(self) -> Json:
        """Return `{"state", "parts": [{name, state, detail, hint}]}` as the API sees its surroundings."""
        return self._http.json("GET", f"{API}/status")

    def is_live(self) -> bool:
        """Tell whether the API answers now, tried once."""
        return self._http.probe("/livez")


def is_over(job: Mapping[str, Any]) -> bool:
    """Tell whether a job document is in a state that nothing leaves."""
    return job.get("state") in TERMINAL_JOB_STATES
