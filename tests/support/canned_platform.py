"""A platform that answers canned documents over real HTTP and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "t0ken"
ENDPOINT = {
    "name": "digits",
    "state": "ready",
    "url": "http://127.0.0.1:1/v1",
    "model": "digits-gan@1",
    "replicas": {"ready": 1, "min": 1, "max": 2},
    "reason": None,
}


def job(**changes: Any) -> dict[str, Any]:
    return {
        "id": "j_abcdefghjk",
        "name": "digits-gan",
        "kind": "train",
        "state": "succeeded",
        "reason": None,
        "queue": "default",
        "priority": 500,
        "labels": {},
        "progress": {"done": 40, "total": 40, "unit": "steps", "rate": 410.25, "eta_seconds": 0.0},
        "runs": [
            {
                "number": 1,
                "state": "succeeded",
                "cause": None,
                "node": "n1",
                "started_at": "2026-11-22T05:00:01.000Z",
                "finished_at": "2026-11-22T05:00:43.000Z",
            }
        ],
        "model": "digits-gan@1",
        "outputs": None,
        "error": None,
        "created_at": "2026-11-22T05:00:00.000Z",
        "started_at": "2026-11-22T05:00:01.000Z",
        "finished_at": "2026-11-22T05:00:43.000Z",
    } | changes


def problem(status: int, code: str, detail: str, hint: str = "", **more: Any) -> tuple[int, dict[str, Any]]:
    title = {"type": "about:blank", "title": "Refused", "status": status}
    return status, {**title, "detail": detail, "code": code, "hint": hint, **more}


@dataclass
class Asked:
    """One request that came in."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes


@dataclass
class CannedPlatform:
    """Answers by `METHOD /path`; several answers for one are given in turn, the last one for ever.

    An answer is a document, `(status, document)`, bytes, a list of JSON Lines, or None: the connection is cut.
    """

    answers: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    asked: list[Asked] = field(default_factory=list)
    url: str = ""
    checks_token: bool = True

    def on(self, route: str, *answers: Any) -> None:
        self.answers[route] = list(answers)

    def paths(self, method: str = "") -> list[str]:
        return [f"{a.method} {a.path}" for a in self.asked if method in ("", a.method)]

    def next_answer(self, route: str) -> Any:
        waiting = self.answers.get(route)
        if not waiting:
            return problem(404, "not_found", f"Nothing is canned for {route}.")
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    def start(self) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server


def _handler(platform: CannedPlatform) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def _answer(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            platform.asked.append(Asked(self.command, parts.path, parse_qs(parts.query), headers, body))
            answer = self._choose(parts.path, headers)
            if answer is None:
                self.close_connection = True
                return
            status, document = answer if isinstance(answer, tuple) else (200, answer)
            data = document if isinstance(document, bytes) else json.dumps(document).encode()
            kind = "application/problem+json" if status >= 400 else "application/json"
            if isinstance(document, list):
                data, kind = b"".join(json.dumps(line).encode() + b"\n" for line in document), "application/x-ndjson"
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            if 300 <= status < 400:
                self.send_header("Location", "https://elsewhere.example/")
            self.end_headers()
            self.wfile.write(data)

        def _choose(self, path: str, headers: dict[str, str]) -> Any:
            if path == "/livez":
                return {"live": True}
            if platform.checks_token and headers.get("authorization") != f"Bearer {TOKEN}":
                return problem(401, "unauthorized", "The token is not valid here.")
            return platform.next_answer(f"{self.command} {path}")

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _answer  # noqa: N815 - the names that http.server looks for

    return Handler
