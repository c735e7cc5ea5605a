"""Recipes of one's own: code that a client sent ahead, and how a job and a model's card name it.

Nothing of the platform ever imports it. It is a tar of Python files under its SHA-256, which a Run's own process
unpacks and imports under a name made of that digest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from genplatform.domain.uploads import SHA256_PATTERN

_WORD = "[A-Za-z_][A-Za-z0-9_]{0,99}"
MODULE_PATTERN = rf"{_WORD}(?:\.{_WORD}){{0,9}}"
CLASS_PATTERN = _WORD
CODE_PATTERN = f"^upload:{SHA256_PATTERN}/{MODULE_PATTERN}:{CLASS_PATTERN}$"
_CODE = re.compile(f"upload:({SHA256_PATTERN})/({MODULE_PATTERN}):({CLASS_PATTERN})")
# A part of a file's name: no folder above, no drive, nothing hidden.
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@ -]{0,199}")

# Of one recipe's code, data files of its package among it. Weights are no code.
LARGEST_CODE = 16 << 20
MOST_FILES = 2000


class RecipeCode(NamedTuple):
    """A class in a module of an upload."""

    digest: str
    module: str
    cls: str

    def __str__(self) -> str:
        return f"upload:{self.digest}/{self.module}:{self.cls}"

    def as_json(self) -> dict[str, str]:
        """Return it as a model's card names it."""
        return {"sha256": self.digest, "module": self.module, "class": self.cls, "upload": str(self)}


def is_plain(path: str) -> bool:
    """Tell whether a file of the code may be called so: a relative path of plain letters, `/` between its parts."""
    return all(_PART.fullmatch(part) for part in path.split("/"))


def parse(text: str) -> RecipeCode | None:
    """Return the code that `upload:SHA256/package.module:Class` names; None for whatever is not of this form."""
    found = _CODE.fullmatch(text)
    return RecipeCode(*found.groups()) if found else None


def of_card(told: Any) -> RecipeCode | None:
    """Return the code that a card's `code` names; None where it names none. Raises ValueError for what names none."""
    if not told:
        return None
    words = told if isinstance(told, Mapping) else {}
    code = parse(f"upload:{words.get('sha256')}/{words.get('module')}:{words.get('class')}")
    if code is None:
        raise ValueError(f"the `code` of its card names no recipe's code: {told!r:.300}")
    return code
