"""The node's side of /internal/v1: claim, heartbeat, progress, publish.

A platform that restarts must not fail a run: what cannot be delivered is tried again for two
minutes. What is refused (409 fenced) is final at once, because a newer Run or claim stands.

Every call but claim is idempotent on the platform's side. A claim whose answer was lost on the
way leaves shards claimed that nobody works on; the dispatcher offers them again when their
lease has ended. So trying again is always right, and costs at most that wait.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import httpx
import tenacity

from genplatform.errors import BadRequest, Conflict, Fenced, GenctlError, Unauthorized, Unavailable

RETRY_SECONDS = 120.0
FIRST_DELAY = 0.1
LONGEST_DELAY = 5.0
TIMEOUT = httpx.Timeout(15.0, connect=5.0)

_FINAL: dict[int, type[GenctlError]] = {401: Unauthorized, 403: Unauthorized, 409: Conflict}


class PlatformClient:
    """Speaks for one run or pool, with its token. Safe to use from many threads.

    Raises Fenced when the platform says that the run or claim is no longer current, Unavailable
    when it could not be reached for `retry_seconds`, and another GenctlError for any other refusal.
    """

    def __init__(self, api_url: str, token: str, *, retry_seconds: float = RETRY_SECONDS) -> None:
        self._url = api_url
        self._retry_seconds = retry_seconds
        self._given_up = threading.Event()
        self._http = httpx.Client(
            base_url=f"{api_url.rstrip('/')}/internal/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=TIMEOUT,
            trust_env=False,  # a proxy of the surroundings has no business between a node and its platform
        )

    def started(self, body: Mapping[str, Any]) -> None:
        """Say that the run's worker is there."""
        self._patiently("/started", body)

    def heartbeat(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Renew leases; return who is to stop. Tried once: the next beat is the next try."""
        answer = self._once("/heartbeat", body, httpx.Timeout(5.0, connect=2.0))
        return list(answer.get("stop", []))

    def progress(self, body: Mapping[str, Any]) -> None:
        """Deliver progress, metrics, log lines and events."""
        self._patiently("/progress", body)

    def artifact(self, body: Mapping[str, Any]) -> None:
        """Record a checkpoint or a sheet that lies in the store."""
        self._patiently("/artifacts", body)

    def claim(
        self, worker: str, node: str, most: int, wait_seconds: float, *, max_items: int | None = None
    ) -> list[dict[str, Any]]:
        """Claim up to `most` shards, and no more than one past `max_items`, waiting on the platform's side."""
        body = {"worker": worker, "node": node, "max": most, "max_items": max_items, "wait_seconds": wait_seconds}
        answer = self._patiently("/claim", body, httpx.Timeout(wait_seconds + 15.0, connect=5.0))
        return list(answer.get("shards", []))

    def publish(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Publish a model or shards; what counts is the platform's answer."""
        return self._patiently("/publish", body)

    def failed(self, body: Mapping[str, Any]) -> None:
        """Say that a run, or a claimed shard, failed."""
        self._patiently("/failed", body)

    def released(self, body: Mapping[str, Any]) -> None:
        """Say that a run stopped because it was asked to."""
        self._patiently("/released", body)

    def give_up(self) -> None:
        """Stop trying again, in every thread: what is under way fails with Unavailable after its present try."""
        self._given_up.set()

    def close(self) -> None:
        """Give the connections back."""
        self._given_up.set()
        self._http.close()

    def _patiently(self, path: str, body: Mapping[str, Any], timeout: httpx.Timeout | None = None) -> dict[str, Any]:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Unavailable),
            wait=tenacity.wait_random_exponential(multiplier=FIRST_DELAY, max=LONGEST_DELAY),
            stop=tenacity.stop_after_delay(self._retry_seconds) | tenacity.stop_when_event_set(self._given_up),
            sleep=tenacity.sleep_using_event(self._given_up),
            reraise=True,
        )
        return retrying(self._once, path, body, timeout)

    def _once(self, path: str, body: Mapping[str, Any], timeout: httpx.Timeout | None = None) -> dict[str, Any]:
        try:
            response = self._http.post(path, json=dict(body), timeout=timeout or TIMEOUT)
        except httpx.TransportError as error:
            raise Unavailable(
                f"The platform at {self._url} cannot be reached: {error or type(error).__name__}.",
                "See that its API is up (genctl status).",
            ) from error
        if response.is_success:
            return _json(response)
        raise _refusal(path, response)


def _json(response: httpx.Response) -> dict[str, Any]:
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        # Something that is not the platform answered, or an answer was cut: trying again is right.
        raise Unavailable(f"{response.url} answered something that is not a JSON object.")
    return answer


def _refusal(path: str, response: httpx.Response) -> GenctlError:
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {}
    status = response.status_code
    message = str(problem.get("detail") or f"{path} was answered with {status}.")
    hint = str(problem.get("hint") or "")
    if status >= 500 or status in {408, 425, 429}:
        return Unavailable(message, hint)
    if status == 409 and problem.get("code") == Fenced.code:
        return Fenced(message, hint)
    return _FINAL.get(status, BadRequest)(message, hint)
