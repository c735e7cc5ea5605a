"""Where the platform is, and the token that opens it: from arguments, the settings or the local home."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from genplatform.errors import SettingsError, Unavailable
from genplatform.settings import Settings

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True)
class Connection:
    """One platform's address. `token_file` is set when the token is the local home's."""

    url: str
    token: str
    local: bool
    token_file: Path | None = None
    pids: tuple[int, ...] = ()

    @property
    def is_loopback(self) -> bool:
        """Whether the address is this machine's own, which no proxy can reach for us."""
        return urlsplit(self.url).hostname in LOOPBACK

    @property
    def is_dead(self) -> bool:
        """Whether this is a local platform of which no process is left, so that waiting for it is vain."""
        return self.local and bool(self.pids) and not any(_alive(pid) for pid in self.pids)

    @property
    def hint(self) -> str:
        """What a person does when nothing answers there."""
        if self.local:
            return "Start it with `genctl up`; `genctl doctor` says what is in its way."
        return (
            "Check GENCTL_URL and the network, or unset GENCTL_URL and run `genctl up` for a platform on this machine."
        )

    @property
    def key_hint(self) -> str:
        """What a person does when the token is refused there."""
        if self.token_file is not None:
            return (
                f"The token is that of {self.token_file}; `genctl down` and `genctl up` make platform and token agree."
            )
        return "Set GENCTL_API_KEY to a key that is valid there."


def find(settings: Settings, url: str | None = None, api_key: str | None = None) -> Connection:
    """Return the platform to speak to: `url`, else `GENCTL_URL`, else the local one that is up.

    The local token goes to the local platform only, never to another address.
    Raises SettingsError for an address or key that cannot be used, Unavailable when no
    local platform is up.
    """
    record = read_record(settings)
    local_url = str(record.get("url", "")).rstrip("/")
    wanted = (url or settings.url).rstrip("/")
    key = api_key or settings.api_key
    if wanted and wanted != local_url:
        return Connection(_checked_url(wanted), _checked_key(key), local=False)
    if not local_url:
        raise Unavailable(
            f"The local platform is not up: there is no {settings.platform_file}.",
            "Start it with `genctl up`, or set GENCTL_URL and GENCTL_API_KEY for a platform elsewhere.",
        )
    return Connection(
        _checked_url(local_url),
        _checked_key(key or settings.token()),
        local=True,
        token_file=None if key else settings.token_file,
        pids=_pids(record),
    )


def read_record(settings: Settings) -> Mapping[str, Any]:
    """Return `platform.json`; empty when there is none or it is not whole (it is written while `up` runs)."""
    try:
        record = json.loads(settings.platform_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) and isinstance(record.get("url"), str) else {}


def _pids(record: Mapping[str, Any]) -> tuple[int, ...]:
    parts = record.get("parts")
    found = [p.get("pid") for p in parts if isinstance(p, dict)] if isinstance(parts, list) else []
    return tuple(pid for pid in found if isinstance(pid, int) and pid > 0)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it exists, and is another user's
    return True


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or not url.isprintable():
        raise SettingsError(
            f"The platform's address {url!r} is not an http:// or https:// URL.",
            "Set GENCTL_URL to something like http://127.0.0.1:8700.",
        )
    return url


def _checked_key(key: str) -> str:
    if not (key.isascii() and key.isprintable()):
        raise SettingsError(
            "The API key has characters that cannot travel in a header.",
            "Copy it again, without line breaks, into GENCTL_API_KEY.",
        )
    return key
