"""A hub on loopback: answers what huggingface_hub asks for the files of a data set, or a model, at a test's commits."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


class HubStandIn:
    """One data set (or model), `repository`, whose branches point to commits, and these to files by their paths."""

    def __init__(self, repository: str, kind: str = "datasets") -> None:
        self.repository, self.kind = repository, kind
        self.branches: dict[str, str] = {}
        self.commits: dict[str, dict[str, bytes]] = {}
        self.fetched: list[str] = []
        self.busy: int | None = None  # the status that is answered to everything, while there is one
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def commit(self, files: Mapping[str, bytes], branch: str = "main") -> str:
        """Add a commit and point a branch to it; return its name."""
        name = hashlib.sha1(json.dumps({p: d.hex() for p, d in files.items()}).encode()).hexdigest()  # noqa: S324
        self.commits[name] = dict(files)
        self.branches[branch] = name
        return name

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of what lies at a path."""
        where = "" if self.kind == "models" else f"/{self.kind}"  # as the hub has it
        api, files = f"/api/{self.kind}/{self.repository}", f"{where}/{self.repository}/resolve/"
        if path.startswith(f"{api}/tree/"):
            commit = self.commits[path.removeprefix(f"{api}/tree/")]
            listed = [{"type": "file", "path": p, "size": len(d), "oid": _oid(d)} for p, d in commit.items()]
            return 200, {}, json.dumps(listed).encode()
        if path.startswith(files):
            commit_name, _, name = path.removeprefix(files).partition("/")
            data = self.commits.get(commit_name, {}).get(name)
            if data is None:
                return 404, {"X-Error-Code": "EntryNotFound"}, b""
            self.fetched.append(name)
            return 200, {"X-Repo-Commit": commit_name, "ETag": f'"{_oid(data)}"'}, data
        if path == api or path.startswith(f"{api}/revision/"):
            asked = path.removeprefix(f"{api}/revision/") if path != api else "main"
            commit_name = self.branches.get(asked, asked)
            if commit_name not in self.commits:
                return 404, {"X-Error-Code": "RevisionNotFound"}, b""
            siblings = [{"rfilename": p} for p in self.commits[commit_name]]
            return 200, {}, json.dumps({"id": self.repository, "sha": commit_name, "siblings": siblings}).encode()
        return 404, {"X-Error-Code": "RepoNotFound"}, b""

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._send(with_body=True)

            def do_HEAD(self) -> None:
                self._send(with_body=False)

            def _send(self, with_body: bool) -> None:
                path = unquote(urlsplit(self.path).path)
                status, headers, body = hub._answer(path) if hub.busy is None else (hub.busy, {}, b"")
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if with_body:
                    self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


def _oid(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()  # noqa: S324 - what git calls a blob
