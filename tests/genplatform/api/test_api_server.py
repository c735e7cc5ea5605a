"""The API's process: it takes its address or says why not, and ends cleanly when asked to."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from genplatform.api.server import serve
from genplatform.catalog import Catalog
from genplatform.domain.tokens import PoolGrant, issue, node_secret
from genplatform.errors import LocalPlatformError
from genplatform.services.context import Wiring

# A process of its own, because signals are a process's.
PROGRAM = """
import secrets, sys, time
from genplatform.api.server import serve
from genplatform.catalog import Catalog, migrate
from genplatform.observe.logs import configure
from genplatform.queues.memory import MemoryQueues
from genplatform.services.context import Wiring
from genplatform.spec import RecipeBook
from genplatform.store import Store
configure("api")
folder = sys.argv[1]
url = f"sqlite:///{folder}/catalog.db"
migrate.upgrade(url)
w = Wiring(Catalog(url), MemoryQueues(time.time), Store(folder + "/store"), RecipeBook.builtin(), "secret",
           time.time, secrets.randbelow)
serve(w, "127.0.0.1", 0)
"""


def incarnation(folder: Path) -> str:
    catalog = Catalog(f"sqlite:///{folder}/catalog.db")
    with catalog.read() as tx:
        found = tx.identity.incarnation()
    catalog.close()
    return found


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_port_in_use_is_said_with_its_number(w: Wiring, host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(LocalPlatformError, match=f"port {port}: Address already in use") as caught:
            serve(w, host, port)

    assert caught.value.exit_code == 3


def test_sigterm_ends_a_waiting_poll_and_the_process_exits_with_zero(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], stderr=subprocess.PIPE, text=True)
    try:
        port = next(line["port"] for line in map(json.loads, process.stderr or []) if line["event"] == "api_started")
        pool = issue(node_secret("secret", incarnation(tmp_path)), PoolGrant("default", "p1"))
        body = b'{"worker": "w", "node": "n", "max": 1, "wait_seconds": 20}'
        head = f"POST /internal/v1/claim HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {pool}\r\n"
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            # A second connection's answer proves that the server is up and the first is being served.
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=60) as live:
                assert live.status == 200

            process.send_signal(signal.SIGTERM)
            with client.makefile("rb") as answers:
                answer = answers.read()

        assert process.wait(60) == 0
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b'{"shards":[]}')
    finally:
        process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()
