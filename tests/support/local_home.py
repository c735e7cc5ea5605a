"""A local platform of small stand-in parts in a home of its own: the real supervisor, `up` and `down` over them."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from genplatform import settings as surroundings
from genplatform.local import home, lifecycle, processes
from genplatform.settings import Settings

SUPERVISE = (sys.executable, "-P", str(Path(__file__).with_name("standin_supervisor.py")))
LONG = 30.0

API = """
import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"state": "up", "parts": []}).encode())
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
IDLE = "import signal; signal.pause()"
# The alarm ends it whatever else fails to: what is deaf must not outlive its test for long.
DEAF = "import signal; signal.alarm(120); signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: signal.pause()"
# Starts a deaf child, which only its session betrays: it drops its environment.
PARENT = f"""
import signal, subprocess, sys
subprocess.Popen([sys.executable, "-c", {DEAF!r}], env={{}})
signal.pause()
"""


def python(code: str, *words: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code, *words]


def row(name: str, code: str = IDLE, **more: Any) -> dict[str, Any]:
    return {"name": name, "argv": python(code), "stop_seconds": 1.0, **more}


def api_row() -> dict[str, Any]:
    return {"name": "api", "argv": python(API, "{port}"), "serves": True}


def eventually(holds: Callable[[], Any], seconds: float = LONG) -> Any:
    """Ask until the answer is true, and return it; for what other processes do in their own time."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.05)):
        if answer := holds():
            return answer
        pause.wait(0.05)
    raise AssertionError(f"It did not become so within {seconds:g} seconds.")


class LocalHome:
    """One home with a table of parts; `up` and `down` are the real ones."""

    def __init__(self, folder: Path, table: Sequence[dict[str, Any]]) -> None:
        folder.mkdir(parents=True)
        self.settings: Settings = surroundings.load({"GENCTL_HOME": str(folder)})
        self.said: list[str] = []
        self.tabulate(table)

    def tabulate(self, table: Sequence[dict[str, Any]]) -> None:
        (self.settings.home / "table.json").write_text(json.dumps(list(table)))

    def up(self, **more: Any) -> dict[str, Any]:
        return lifecycle.up(self.settings, self.said.append, supervise=SUPERVISE, **more)

    def down(self) -> bool:
        return lifecycle.down(self.settings, self.said.append)

    def document(self) -> dict[str, Any]:
        return home.read_json(self.settings.platform_file)

    def part(self, name: str) -> dict[str, Any]:
        return next((part for part in self.document().get("parts", []) if part["name"] == name), {})

    def pid(self, name: str) -> int:
        return int(self.part(name)["pid"])

    def alive(self) -> list[psutil.Process]:
        instance = home.identity(self.settings)
        return processes.marked(instance) if instance else []

    def kill(self, name: str) -> int:
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        return pid
