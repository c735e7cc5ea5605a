"""Short questions to the parts: does it answer, and what does it say. None waits longer than its time-out."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

TIMEOUT = 2.0


def http_ok(url: str, timeout: float = TIMEOUT) -> bool:
    """Whether a GET answers 200."""
    try:
        with _opener().open(url, timeout=timeout) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


def http_json(url: str, token: str, timeout: float = TIMEOUT) -> dict[str, Any] | None:
    """Return the JSON document that a GET with the bearer token answers, or None when it does not."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310
    try:
        with _opener().open(request, timeout=timeout) as answer:
            document = json.load(answer)
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def _opener() -> urllib.request.OpenerDirector:
    # No proxies: what is asked here listens on this machine.
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def redis_answers(sock: Path, timeout: float = TIMEOUT) -> bool:
    """Whether a Redis server on a Unix socket answers PING, and so has loaded its data."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(str(sock))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def socket_answers(sock: Path, timeout: float = TIMEOUT) -> bool:
    """Whether somebody accepts connections on a Unix socket."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(str(sock))
    except OSError:
        return False
    return True


def port_answers(host: str, port: int, timeout: float = TIMEOUT) -> bool:
    """Whether somebody accepts TCP connections there."""
    try:
        with socket.create_connection((host, port), timeout):
            return True
    except OSError:
        return False


def redis_url_problem(url: str) -> str:
    """Return why nobody can be spoken to at a Redis URL; empty when PING is answered."""
    import redis

    try:
        with redis.Redis.from_url(url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT) as client:
            client.ping()
    except (redis.RedisError, OSError, ValueError) as error:
        return str(error) or type(error).__name__
    return ""


def redacted(url: str) -> str:
    """Return the URL without its password and query, for messages and logs."""
    try:
        parsed = urllib.parse.urlsplit(url)
        netloc = parsed.netloc
        if "@" in netloc:
            who, _, where = netloc.rpartition("@")
            name = who.partition(":")[0]
            netloc = f"{name}:***@{where}" if ":" in who else f"{name}@{where}"
        return urllib.parse.urlunsplit((parsed.scheme, netloc, parsed.path, "", ""))
    except ValueError:
        return "(a URL that cannot be read)"
