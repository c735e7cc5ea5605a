"""HTTP with patience: one request, tried again for a bounded time while nothing answers.

Every request of the client may be repeated: reads by nature, submits by their idempotency
key, cancels and endpoint wishes because asking twice is asking once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import tenacity

from genctl.connection import Connection
from genctl.problems import from_problem
from genplatform.errors import BadRequest, GenctlError, Unauthorized, Unavailable

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 60.0
MAY_PASS = frozenset({502, 503})
BAD = 400
LINES = "application/x-ndjson"


class MayPass(Unavailable):
    """Unavailable in a way that trying again within seconds may heal (a part is being restarted)."""


class Transport:
    """One platform over httpx. `patience` bounds, in seconds, how long an outage is waited out."""

    def __init__(self, connection: Connection, *, patience: float, sleep: Callable[[float], None]) -> None:
        self.connection = connection
        out_of_patience = tenacity.stop_before_delay(patience)
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(MayPass),
            stop=lambda state: connection.is_dead or out_of_patience(state),
            wait=tenacity.wait_exponential(multiplier=0.1, max=1.5) + tenacity.wait_random(0, 0.1),
            sleep=sleep,
            reraise=True,
        )
        headers = {"Accept": "application/json", "User-Agent": "genctl"}
        if connection.token:
            headers["Authorization"] = f"Bearer {connection.token}"
        self._http = httpx.Client(
            base_url=connection.url,
            headers=headers,
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            # A proxy from the environment cannot reach this machine's loopback.
            trust_env=not connection.is_loopback,
            # Loading the certificate store costs more than a whole request, and http:// needs none.
            verify=connection.url.startswith("https:"),
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """Send a request and return the JSON object it is answered with."""
        answer = self.send(method, path, **request)
        return self._object(answer.url, _parsed(answer))

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | Iterable[bytes] | None = None,
        json: Any = None,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> httpx.Response:
        """Send a request and return its answer. Parameters that are None are left out.

        `content` that comes in pieces is asked for them again when the request is tried again.

        Raises the GenctlError that a refusal stands for, and Unavailable when nothing
        answered for as long as the patience lasts.
        """
        request = self._request(method, path, params, headers, content, json, answer_seconds)
        return self._retrying(self._once, request)

    def listen(
        self,
        method: str,
        path: str,
        seen: Callable[[dict[str, Any]], object],
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | Iterable[bytes] | None = None,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> dict[str, Any]:
        """Send a request whose answer may tell meanwhile, in JSON Lines, how far it is; return what `json` does.

        `seen` is given each word of that; a platform that tells nothing answers as ever. Raises as `send` does.
        """
        asked = {"Accept": f"{LINES}, application/json", **(headers or {})}
        request = self._request(method, path, params, asked, content, None, answer_seconds)
        document: dict[str, Any] = self._retrying(self._listened, request, seen)
        return document

    def _request(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
        content: bytes | Iterable[bytes] | None,
        json: Any,
        answer_seconds: float,
    ) -> httpx.Request:
        given = {k: _wire(v) for k, v in (params or {}).items() if v is not None}
        timeout = httpx.Timeout(answer_seconds, connect=CONNECT_SECONDS)
        return self._http.build_request(
            method, path, params=given, headers=headers, content=content, json=json, timeout=timeout
        )

    def _listened(self, request: httpx.Request, seen: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        with self._told():
            answer = self._http.send(request, stream=True)
            try:
                tells = answer.is_success and answer.headers.get("content-type", "").startswith(LINES)
                last = _last_line(answer.iter_lines(), seen) if tells else None
                if not tells:
                    answer.read()
            finally:
                answer.close()
        if not tells:
            if not answer.is_success:
                raise self._refusal(answer)
            return self._object(answer.url, _parsed(answer))
        if last is None:
            raise MayPass(f"The platform at {self.connection.url} broke off its answer.", self._hint)
        status = last.get("status")
        if isinstance(status, int) and status < BAD:
            return self._object(answer.url, last.get("answer"))
        raise self._refused(status if isinstance(status, int) else BAD, last.get("answer"), answer)

    def probe(self, path: str, seconds: float = 2.0) -> bool:
        """Tell whether `path` answers with success, tried once and without patience."""
        try:
            return self._http.get(path, timeout=seconds).is_success
        except httpx.HTTPError:
            return False

    def download(self, path: str, to: Path) -> str:
        """Write what `path` answers into the file `to`, in pieces; return its SHA-256. Raises as `send` does."""
        digest: str = self._retrying(self._download, path, to)
        return digest

    def _download(self, path: str, to: Path) -> str:
        digest = hashlib.sha256()
        with self._told(), self._http.stream("GET", path) as answer:
            if not answer.is_success:
                answer.read()
                raise self._refusal(answer)
            with to.open("wb") as file:
                for block in answer.iter_bytes():
                    digest.update(block)
                    file.write(block)
        return digest.hexdigest()

    def _once(self, request: httpx.Request) -> httpx.Response:
        with self._told():
            answer = self._http.send(request)
        if answer.is_success:
            return answer
        raise self._refusal(answer)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Raise what httpx raises as the error that it is here."""
        try:
            yield
        except httpx.TimeoutException as error:
            # A slow answer is not waited for twice; a connection that was never made is.
            kind = MayPass if isinstance(error, httpx.ConnectTimeout) else Unavailable
            raise kind(f"The platform at {self.connection.url} did not answer in time.", self._hint) from error
        except httpx.LocalProtocolError as error:
            raise BadRequest(f"The request cannot be sent: {error}.") from error
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            raise MayPass(f"The platform at {self.connection.url} cannot be reached: {reason}.", self._hint) from error

    def _refusal(self, answer: httpx.Response) -> GenctlError:
        if answer.is_redirect:
            target = answer.headers.get("location", "")
            return Unavailable(
                f"{answer.url} sends on to {target!r}, and the client does not follow with its key.",
                "Set GENCTL_URL to the platform's final address.",
            )
        return self._refused(answer.status_code, _parsed(answer), answer)

    def _refused(self, status: int, document: Any, answer: httpx.Response) -> GenctlError:
        """Return the error that a status and a problem document stand for."""
        error = from_problem(status, document, f"{answer.request.method} {answer.url}")
        if isinstance(error, Unauthorized):
            # The platform speaks of headers; who types commands has a key or a home.
            return Unauthorized(error.message, self.connection.key_hint, **error.details)
        if status in MAY_PASS and isinstance(error, Unavailable):
            passing = MayPass(error.message, error.hint or self._hint, **error.details)
            passing.code = error.code
            return passing
        return error

    def _object(self, url: httpx.URL, document: Any) -> dict[str, Any]:
        if not isinstance(document, dict):
            raise Unavailable(
                f"{url} answered with something that is no JSON object.",
                "Is this address a genctl platform? Check GENCTL_URL.",
            )
        return document

    @property
    def _hint(self) -> str:
        return self.connection.hint


def segment(text: str, what: str) -> str:
    """Return `text` as one segment of a URL's path, whatever is in it."""
    # A server takes %2F for a slash again, so such a text would reach another route.
    if text in ("", ".", "..") or "/" in text:
        raise BadRequest(f"{text!r} names no {what}.", f"Give the {what}'s name.")
    return quote(text, safe="")


def _wire(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return list(value) if isinstance(value, (list, tuple)) else value


def _last_line(lines: Iterable[str], seen: Callable[[dict[str, Any]], object]) -> dict[str, Any] | None:
    """Give `seen` every line up to the one with the answer, and return that; None when there is none."""
    for line in lines:
        try:
            document = json.loads(line)
        except ValueError:
            return None
        if isinstance(document, dict) and "answer" in document:
            return document
        if isinstance(document, dict):
            seen(document)
    return None


def _parsed(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None
