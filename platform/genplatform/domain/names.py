"""Names that people give: what is allowed, and references such as `digits-gan@3`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
NAME_RULE = "1 to 63 letters, digits, '.', '_' or '-', starting with a letter or digit"
_NAME = re.compile(NAME_PATTERN.removesuffix("$") + r"\Z")
_VERSION = re.compile(r"[1-9][0-9]{0,8}\Z")

RESERVED_MODELS = frozenset({"noise"})
LATEST = "latest"


def is_name(text: str) -> bool:
    """Tell whether `text` may name a job, model, endpoint or queue."""
    return bool(_NAME.match(text))


@dataclass(frozen=True)
class ModelRef:
    """A reference to a model: its name, and a version number, an alias, or neither (the newest)."""

    name: str
    version: int | None = None
    alias: str | None = None

    def __str__(self) -> str:
        tail = self.version if self.version is not None else self.alias
        return self.name if tail is None else f"{self.name}@{tail}"


def node_name(given: str, address: str, hostname: str) -> str:
    """Return what a node is called: the name its operator gave it, else its machine's; an address is no name."""
    return given if given not in ("", address) else hostname


@lru_cache(maxsize=1024)
def parse_model_ref(text: str) -> ModelRef | None:
    """Parse `NAME`, `NAME@3` or `NAME@alias`; None when it is none of them. `@latest` means the newest."""
    name, at, tail = text.partition("@")
    if not is_name(name):
        return None
    if not at:
        return ModelRef(name)
    if _VERSION.match(tail):
        return ModelRef(name, version=int(tail))
    if tail == LATEST:
        return ModelRef(name, alias=LATEST)
    # Digits alone would be an alias that reads as a version.
    return ModelRef(name, alias=tail) if is_name(tail) and not tail.isdecimal() else None
