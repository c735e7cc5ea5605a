"""The line to Ray: a child process that holds the connection, and bounded calls to it.

Ray's client library cannot be trusted with the life of a dispatcher. When the cluster's
control plane goes away its calls block for up to half a minute whatever time they were
given, it ends its process after 60 seconds, and a call still pending when a new control
plane answers at the same address aborts the process (all seen with 2.60). So it lives in a
process of its own, `ray_host`, and this side keeps three promises: no call outlasts its
deadline; a child that missed one is ended, never reused; the next call starts another.

The child ends with its parent, because its standard input closes. Messages are lines of
JSON: `{"id", "method", "arguments"}` down, `{"id", "result"}` or `{"id", "error"}` up.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import IO, Any, cast

from genplatform.errors import Unavailable

PROBE_SECONDS = 2.0
# While an answer is awaited, the address is probed so often: a cluster that went away is told at once.
PROBE_EVERY = 1.0
CONNECT_SECONDS = 30.0
# After a failed connection the next ones fail at once, so that a loop does not start a child every tick.
PAUSE_SECONDS = 2.0
HELLO = 0
HINT = "`genctl status` says whether Ray is up; the platform tries again by itself."


class Refused(Exception):
    """The host understood the call and could not do it; asking again gives the same."""


def _probe(address: str) -> None:
    """Raise Unavailable when nobody listens at `host:port`; other forms of address are not probed."""
    name, colon, port = address.rpartition(":")
    if not (colon and port.isdecimal()) or "/" in name:
        return
    try:
        socket.create_connection((name, int(port)), PROBE_SECONDS).close()
    except OSError as error:
        raise Unavailable(f"Ray does not answer at {address}: {error.strerror or error}.", HINT) from None


class _Host:
    """One child process and the calls that wait for it."""

    def __init__(self, address: str, namespace: str, environment: Mapping[str, str] | None) -> None:
        self._address = address
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "genplatform.engine.ray_host", address, namespace],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        # Popen's pipes are typed as optional; both were asked for above.
        self._calls, self._answers = cast("IO[str]", self._process.stdin), cast("IO[str]", self._process.stdout)
        self._lock = threading.Lock()
        self._ids = itertools.count(HELLO + 1)
        self._hello: Future[Any] = Future()
        self._waiting: dict[int, Future[Any]] = {HELLO: self._hello}
        self._over = False
        self._reader = threading.Thread(target=self._read, name="ray-link", daemon=True)
        self._reader.start()

    def connected(self, seconds: float) -> None:
        """Wait for the child's word that it is connected; raises Unavailable."""
        self._result(self._hello, "connect", seconds)

    def call(self, method: str, arguments: dict[str, Any], seconds: float) -> Any:
        """Send one call and wait for its answer; raises Refused or Unavailable."""
        future: Future[Any] = Future()
        with self._lock:
            if self._over:
                raise Unavailable("The connection to Ray was lost.", HINT)
            number = next(self._ids)
            self._waiting[number] = future
            line = json.dumps({"id": number, "method": method, "arguments": arguments})
            try:
                self._calls.write(line + "\n")
                self._calls.flush()
            except (OSError, ValueError):  # the child is gone, or its pipe was closed by `end`
                raise Unavailable("The connection to Ray was lost.", HINT) from None
        return self._result(future, method, seconds)

    @property
    def over(self) -> bool:
        """Whether the child has ended by itself."""
        return self._over

    def end(self) -> None:
        """End the child now; calls that still wait fail."""
        self._process.kill()
        self._reader.join()
        self._process.wait()
        with contextlib.suppress(OSError):  # what was still buffered for a dead child
            self._calls.close()
        self._answers.close()

    def _result(self, future: Future[Any], method: str, seconds: float) -> Any:
        left = seconds
        while left > PROBE_EVERY:
            with contextlib.suppress(FutureTimeout):
                return future.result(PROBE_EVERY)
            left -= PROBE_EVERY
            _probe(self._address)
        try:
            return future.result(left)
        except FutureTimeout:
            raise Unavailable(f"Ray did not answer within {seconds:g} seconds ({method}).", HINT) from None

    def _read(self) -> None:
        for line in self._answers:
            answer = json.loads(line)
            with self._lock:
                future = self._waiting.pop(answer["id"], None)
            if future is None:
                continue
            if "error" not in answer:
                future.set_result(answer["result"])
            elif answer["error"]["refused"]:
                future.set_exception(Refused(answer["error"]["message"]))
            else:
                future.set_exception(Unavailable(answer["error"]["message"], HINT))
        with self._lock:
            self._over = True
            left = list(self._waiting.values())
            self._waiting.clear()
        for future in left:
            future.set_exception(Unavailable("The connection to Ray was lost.", HINT))


class RayLink:
    """Calls to the Ray at `address` (`host:port`), connected at the first; safe to use from several threads.

    Ray finds its token by RAY_AUTH_MODE and RAY_AUTH_TOKEN_PATH in `environment` (by default
    this process's own). `clock` only spaces failing attempts to connect.
    """

    def __init__(
        self,
        address: str,
        namespace: str,
        environment: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.address = address
        self._environment = environment
        self._namespace = namespace
        self._clock = clock
        self._lock = threading.Lock()
        self._host: _Host | None = None
        self._not_before = 0.0
        self._last_failure = ""

    def call(self, method: str, within: float, **arguments: Any) -> Any:
        """Do `method` in the host within so many seconds; raises Refused or Unavailable.

        A first connection has its own time, at most CONNECT_SECONDS.
        """
        host = self._connected()
        try:
            return host.call(method, arguments, within)
        except Unavailable:
            self._drop(host)
            raise

    def close(self) -> None:
        """End the connection; a later call makes a new one."""
        with self._lock:
            host = self._host
        if host is not None:
            self._drop(host)

    def _connected(self) -> _Host:
        with self._lock:
            if self._host is not None and not self._host.over:
                return self._host
            if self._host is not None:
                self._host.end()
                self._host = None
            if self._clock() < self._not_before:
                raise Unavailable(self._last_failure, HINT)
            try:
                self._host = self._connect()
            except Unavailable as error:
                self._last_failure = error.message
                self._not_before = self._clock() + PAUSE_SECONDS
                raise
            return self._host

    def _connect(self) -> _Host:
        # Cheaper than a child, and what a cluster that is down fails at.
        _probe(self.address)
        host = _Host(self.address, self._namespace, self._environment)
        try:
            host.connected(CONNECT_SECONDS)
        except Unavailable:
            host.end()
            raise
        return host

    def _drop(self, host: _Host) -> None:
        with self._lock:
            if self._host is host:
                self._host = None
        host.end()


@functools.cache
def shared_link(address: str, namespace: str) -> RayLink:
    """Return this process's one link to that Ray: engine and serving share a child."""
    return RayLink(address, namespace)
