"""One Redis-protocol server: connections, commands, Lua acts, and the errors they end in.

Commands of Redis 6.2 only. Connections are made anew after the server restarts; a call that
fails is not repeated here, for the loops above do that, and not every act may be done twice.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    NoScriptError,
    RedisError,
    ResponseError,
)
from redis.retry import Retry

from genplatform.errors import SettingsError, Unavailable

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 5.0
# A blocking command must answer well before the socket's own limit.
LONGEST_BLOCK_SECONDS = 2.0
# Who only listens looks up so often.
LISTEN_SECONDS = 2.0

_KEYS_LINE = re.compile(r"^-- KEYS\[(\d+)\]", re.MULTILINE)


@dataclass(frozen=True)
class Act:
    """One atomic act: a Lua file, and how many keys its header names."""

    name: str
    source: str
    keys: int


@cache
def acts() -> dict[str, Act]:
    """Return all acts of the `lua` folder by name."""
    found = {}
    for file in resources.files(__package__).joinpath("lua").iterdir():
        if file.name.endswith(".lua"):
            name, source = file.name.removesuffix(".lua"), file.read_text(encoding="utf-8")
            found[name] = Act(name, source, len(_KEYS_LINE.findall(source)))
    return found


class Server:
    """A server by its URL: `redis://`, `rediss://` or `unix://`. Connects with the first call.

    Every call raises Unavailable when the server cannot be reached or refuses.
    """

    def __init__(self, url: str) -> None:
        self.shown = redacted(url)
        try:
            self._client = redis.Redis.from_url(
                url,
                protocol=2,
                socket_connect_timeout=CONNECT_SECONDS,
                socket_timeout=ANSWER_SECONDS,
                retry=Retry(NoBackoff(), 0),
            )
            pool = self._client.connection_pool
            # Connects nowhere yet, but refuses options it does not know.
            pool.connection_class(**pool.connection_kwargs)
        except (ValueError, TypeError) as error:
            # The reason may quote a piece of the password, when that was not percent-encoded.
            reason = "its user or password may need percent-encoding" if "@" in url else str(error).rstrip(".")
            raise SettingsError(
                f"The Redis URL {self.shown!r} cannot be used: {reason}.",
                "Set GENCTL_REDIS_URL to redis://host:port/db, rediss://host:port/db or unix:///path/of/the.sock.",
            ) from error
        # Answers as the protocol has them: the library's own shapes change with its versions.
        self._client.response_callbacks.clear()
        self._scripts = {name: self._client.register_script(act.source) for name, act in acts().items()}

    def call(self, *words: str | bytes | float) -> Any:
        """Run one command and return its answer, strings as bytes."""
        with self._failing():
            return self._client.execute_command(*words)  # type: ignore[no-untyped-call]

    def act(self, name: str, keys: Sequence[str], args: Sequence[str | float]) -> Any:
        """Run one Lua act by its digest; a server that does not know it yet is taught it."""
        if len(keys) != acts()[name].keys:
            raise ValueError(f"{name}.lua takes {acts()[name].keys} keys, not {len(keys)}")
        with self._failing():
            return self._scripts[name](keys=keys, args=args)

    def hear(self, channel: str, over: threading.Event) -> Iterator[bytes]:
        """Yield what is published in a channel from now on, until `over` is set."""
        with self._failing(), self._client.pubsub(ignore_subscribe_messages=True) as listener:  # type: ignore[no-untyped-call]
            listener.subscribe(channel)
            while not over.is_set():
                told = listener.get_message(timeout=LISTEN_SECONDS)
                if told is not None:
                    yield told["data"]

    def close(self) -> None:
        """Close all connections; a later call opens new ones."""
        self._client.close()
        self._client.connection_pool.disconnect()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except (AuthenticationError, AuthorizationError, NoPermissionError) as error:
            raise self._unavailable(
                "refuses these credentials", error, "Put the right user and password into GENCTL_REDIS_URL."
            ) from error
        except NoScriptError as error:
            raise self._unavailable(
                "forgot a script between two calls", error, "Try again; see who empties its script cache."
            ) from error
        except ResponseError as error:
            raise self._unavailable(
                "refuses a command", error, "See the server's log, its memory, its disk, and that it is not a replica."
            ) from error
        except (RedisError, OSError, UnicodeError) as error:
            raise self._unavailable(
                "does not answer",
                error,
                "See that it runs (`genctl status` for the local one) and that GENCTL_REDIS_URL is right.",
            ) from error

    def _unavailable(self, what: str, error: Exception, hint: str) -> Unavailable:
        reason = str(error).rstrip(".") or type(error).__name__
        return Unavailable(f"Redis at {self.shown} {what}: {reason}.", hint)


def redacted(url: str) -> str:
    """Return a URL fit to be shown: without user, password and query."""
    # Not by urlsplit: a password that was not percent-encoded must not show either.
    return re.sub(r"//.*@", "//***@", url, flags=re.DOTALL).partition("?")[0]
