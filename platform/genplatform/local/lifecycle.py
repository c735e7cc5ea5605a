"""up and down, as the person sees them: start the supervisor and wait for it, stop it and leave nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from genplatform.errors import LocalPlatformError
from genplatform.local import home, ports, probes, processes, redis_server
from genplatform.local.logfile import keep_short, tail
from genplatform.local.supervisor import marks, remove_traces
from genplatform.settings import Settings, environment

Say = Callable[[str], None]

UP_SECONDS = 180.0
DOWN_SECONDS = 60.0
POLL_SECONDS = 0.1
SUPERVISE = (sys.executable, "-P", "-m", "genplatform", "supervise")


def up(
    settings: Settings,
    say: Say,
    *,
    port: int | None = None,
    seconds: float = UP_SECONDS,
    supervise: Sequence[str] = SUPERVISE,
    preflight: Callable[[Settings], None] | None = None,
) -> dict[str, Any]:
    """Bring the platform of this home up, or wait for whoever is doing so; return its `platform.json`.

    Raises LocalPlatformError when it cannot be; what this call started is then stopped again.
    """
    home.prepare(settings)
    progress = _Progress(say)
    until = time.monotonic() + seconds
    started: subprocess.Popen[bytes] | None = None
    while time.monotonic() < until:
        lock = home.try_lock(settings)
        if lock is not None:
            try:
                if started is not None:
                    raise _ended_early(settings)
                _heal(settings, lock, say)
                (preflight or check_surroundings)(settings)
                if port is not None:
                    ports.refuse_if_in_use(port)
                progress.began(settings)
                started = _start(settings, lock, [*supervise, *([] if port is None else ["--port", str(port)])])
            finally:
                lock.close()
        document = home.read_json(settings.platform_file)
        progress.tell(document)
        if document.get("state") == "up" and probes.http_ok(f"{document['url']}/readyz"):
            _refuse_other_port(document, port)
            if started is None and not progress.watched:
                say("The platform is already up.")
            return document
        _raise_if_failed(settings, document, ours=started is not None)
        time.sleep(POLL_SECONDS)
    late = [part["name"] for part in home.read_json(settings.platform_file).get("parts", []) if part["state"] != "up"]
    raise LocalPlatformError(
        f"The platform is not up after {seconds:.0f} s; still starting: {', '.join(late) or 'the supervisor'}.",
        f"It goes on trying. Look with `genctl status`, read {settings.logs}, or stop it with `genctl down`.",
    )


def check_surroundings(settings: Settings) -> None:
    """Raise when what the settings name, or what the machine must bring, is not there."""
    if settings.redis_url:
        problem = probes.redis_url_problem(settings.redis_url)
        if problem:
            raise LocalPlatformError(
                f"Nobody answers on {probes.redacted(settings.redis_url)} (GENCTL_REDIS_URL): {problem}",
                "Start that Redis or correct the URL; without GENCTL_REDIS_URL genctl brings a Redis of its own.",
            )
    else:
        redis_server.find_server()
    name, colon, port = settings.ray_address.rpartition(":")
    if colon and port.isdigit() and not probes.port_answers(name.rpartition("/")[2], int(port)):
        raise LocalPlatformError(
            f"Nobody answers on {settings.ray_address} (GENCTL_RAY_ADDRESS).",
            "Start that Ray or correct the address; without GENCTL_RAY_ADDRESS genctl starts a Ray of its own.",
        )


def _start(settings: Settings, lock: home.Lock, supervise: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start the supervisor in a session of its own; it inherits the lock, so nobody can come between."""
    log = settings.logs / "supervisor.log"
    keep_short(log)
    with open(log, "ab") as out:
        return subprocess.Popen(
            [*supervise, "--lock-fd", str(lock.fd)],
            env=environment(**marks(lock.identity(), settings)),
            cwd=settings.home,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[lock.fd],
        )


def _heal(settings: Settings, lock: home.Lock, say: Say) -> bool:
    """Remove what a killed supervisor left: processes, `platform.json`, sockets. The lock says that none is alive."""
    document = home.read_json(settings.platform_file)
    instance = lock.identity()
    sessions = [part["pid"] for part in document.get("parts", []) if part.get("pid")]
    ended = processes.end(lambda: processes.marked(instance, sessions), grace=3.0)
    if ended:
        say(f"Ended {len(ended)} processes that an earlier run had left: {', '.join(sorted(set(ended)))}.")
    if document:
        remove_traces(settings.platform_file, home.runtime_of(document, settings))
    remove_traces(settings.platform_file, settings.runtime_dir)
    return bool(ended or document)


def _ended_early(settings: Settings) -> LocalPlatformError:
    log = settings.logs / "supervisor.log"
    said = tail(log, 2)
    return LocalPlatformError(
        "The supervisor ended before the platform was up" + (f": {' '.join(said)}" if said else "."),
        f"Another `genctl down` may have stopped it; else read {log} and run `genctl up` again.",
    )


def _raise_if_failed(settings: Settings, document: dict[str, Any], *, ours: bool) -> None:
    """Raise when a part cannot be started; the platform that this call began is stopped again."""
    failed = [part for part in document.get("parts", []) if part["state"] == "failed"]
    if not failed or document["state"] == "stopping":
        return
    if ours:
        down(settings, lambda _: None)
    first = failed[0]
    raise LocalPlatformError(f"{first['name']} does not start: {first['detail']}", first["hint"])


def _refuse_other_port(document: dict[str, Any], port: int | None) -> None:
    if port is not None and document["url"].rpartition(":")[2] != str(port):
        raise LocalPlatformError(
            f"The platform is already up at {document['url']}, not on port {port}.",
            "Stop it with `genctl down` first, or use it where it is.",
        )


class _Progress:
    """Says each part's coming up once, with the seconds it took."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._from = time.monotonic()
        self._told: set[str] = set()
        self.watched = False

    def began(self, settings: Settings) -> None:
        self.watched = True
        self._say(f"Starting the local platform in {settings.home}")

    def tell(self, document: dict[str, Any]) -> None:
        if document.get("state") != "starting" and not self.watched:
            return
        self.watched = True
        for part in document.get("parts", []):
            if part["state"] == "up" and part["name"] not in self._told and part["name"] != "supervisor":
                self._told.add(part["name"])
                self._say(f"  {part['name']:<11} up after {time.monotonic() - self._from:4.1f} s")


def down(settings: Settings, say: Say, *, seconds: float = DOWN_SECONDS) -> bool:
    """Stop the platform of this home, or clean up after one that was killed; return whether there was anything."""
    until = time.monotonic() + seconds
    asked: int | None = None
    told: set[str] = set()
    while True:
        lock = home.try_lock(settings)
        if lock is not None:
            try:
                left = _heal(settings, lock, say)
            finally:
                lock.close()
            return left or asked is not None
        if not settings.home.is_dir():
            return False
        supervisor = find_supervisor(settings)
        if supervisor is not None and asked != supervisor:
            asked = supervisor
            say("Stopping the local platform; running jobs save a checkpoint and go on at the next `genctl up`.")
            _signal(supervisor, signal.SIGTERM)
        _tell_stopped(home.read_json(settings.platform_file), told, say)
        if time.monotonic() > until:
            if supervisor is None:
                raise LocalPlatformError(
                    f"Another process holds {home.lock_file(settings)} and is not the supervisor.",
                    "Look who it is with `lsof` on that file, end it, and run `genctl down` again.",
                )
            say(f"The supervisor (pid {supervisor}) did not stop in {seconds:.0f} s; killing it.")
            _signal(supervisor, signal.SIGKILL)
            until = time.monotonic() + seconds
        time.sleep(POLL_SECONDS)


def find_supervisor(settings: Settings) -> int | None:
    """Return the pid of this home's living supervisor; the pid in `platform.json` is proven before it is believed."""
    instance = home.identity(settings)
    if instance is None:
        return None
    document = home.read_json(settings.platform_file)
    for part in document.get("parts", []):
        if part.get("name") == "supervisor" and processes.carries(part.get("pid"), instance):
            return int(part["pid"])
    # Just started, or platform.json was removed.
    return processes.find_part(instance, "supervisor")


def _signal(pid: int, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, what)


def _tell_stopped(document: dict[str, Any], told: set[str], say: Say) -> None:
    if document.get("state") != "stopping":
        return
    for part in document["parts"]:
        if part["state"] == "down" and part["name"] not in told:
            told.add(part["name"])
            say(f"  {part['name']:<11} stopped")
