"""Pictures that the conditions of a job file name by paths: sent ahead, and named by their digests.

In `cond:`, a text that begins with ./, ../ or ~/ is the path of a file or folder on this machine.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from genctl.datafiles import Name, absolute, pairs_of, rewritten
from genctl.jobfiles import YAML

SET = "cond."
_RELATIVE = re.compile(r"(\.{1,2}|~)/")
_COND_IN_JSON = re.compile(rb'"cond"\s*:\s*\{[^{}]*\}')
_PATH_IN_JSON = re.compile(rb'(:\s*)("(?:\.{1,2}|~)/(?:[^"\\]|\\.)*")')


def with_sent_pictures(body: bytes, media_type: str, base: Path, send: Name) -> bytes:
    """Return a job file in which what `cond:` names by a path from `base` on is named by what `send` makes of it.

    What cannot be read as a job file is returned as it is: the platform says what is wrong with it.
    """
    if b"cond" not in body or not any(mark in body for mark in (b"./", b"~/")):
        return body
    if media_type == YAML:
        return _in_yaml(body, base, send)
    return _COND_IN_JSON.sub(lambda cond: _PATH_IN_JSON.sub(lambda path: _sent(path, base, send), cond[0]), body)


def with_sent_set(given: str, base: Path, send: Name) -> str:
    """Return a `--set cond.FIELD=PATH` with what `send` makes of the path; any other as it is."""
    field, equals, value = given.partition("=")
    if not field.startswith(SET) or not _RELATIVE.match(value):
        return given
    return f"{field}{equals}{send(absolute(value, base))}"


def _sent(path: re.Match[bytes], base: Path, send: Name) -> bytes:
    return path[1] + json.dumps(send(absolute(json.loads(path[2]), base))).encode()


def _in_yaml(body: bytes, base: Path, send: Name) -> bytes:
    def find(document: Any) -> list[Any]:
        conds = [cond for name, cond in pairs_of(document) if name.value == "cond"]
        return [value for cond in conds for _, value in pairs_of(cond)]

    return rewritten(body, find, lambda text: send(absolute(text, base)) if _RELATIVE.match(text) else None)
