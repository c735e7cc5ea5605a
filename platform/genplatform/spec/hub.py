"""Data sets of the Hugging Face hub as a job file names them: hf://OWNER/NAME, @REVISION, /FILES."""

from __future__ import annotations

import re
from typing import NamedTuple

SCHEME = "hf://"
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_NAME = re.compile(rf"hf://({_PART}(?:/{_PART})?)(?:@([A-Za-z0-9][A-Za-z0-9._/-]{{0,199}}?))?(?://(.+))?")

_COMMIT = re.compile("[0-9a-f]{40}")


class HubName(NamedTuple):
    """A data set on the hub. `revision` is a commit, a branch or a tag, `files` a folder, a file or a pattern in it."""

    repository: str
    revision: str | None = None
    files: str | None = None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{SCHEME}{self.repository}{revision}" + (f"//{self.files}" if self.files else "")


def is_commit(revision: str | None) -> bool:
    """Tell whether a revision is a commit, written out: what branches and tags name may be another tomorrow."""
    return revision is not None and _COMMIT.fullmatch(revision) is not None


def parse_hub(text: str) -> HubName | None:
    """Return the data set that a source names, or None when it is none of the hub's."""
    found = _NAME.fullmatch(text)
    if found is None or ".." in text or not text.isprintable():
        return None
    repository, revision, files = found.groups()
    if files is not None and ({"", "."} & set(files.split("/"))):
        return None
    return HubName(repository, revision, files)
