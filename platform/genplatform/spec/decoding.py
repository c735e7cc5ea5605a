"""Bytes to text that is safe to parse: UTF-8, no control characters, no YAML directives; JSON checked as JSON."""

from __future__ import annotations

import json
import re
from typing import NoReturn

from genplatform.spec.places import Place, stop

MAX_DEPTH = 32

_UNREADABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")
_DIRECTIVE = re.compile("^%", re.MULTILINE)
_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
# An escaped surrogate pair, which JSON has and YAML has not; an even number of backslashes before it.
_PAIR = re.compile(r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")


def decode(body: bytes) -> str:
    """Return the text that the bytes are in UTF-8, with or without its mark. Raises BadSpec."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = body[: error.start].decode("utf-8", "replace")
        byte = f"0x{body[error.start]:02x}"
        hint = "Save the file as UTF-8, and check that it is a job file at all."
        stop(f"The job file is not UTF-8 text: byte {byte} does not fit.", _place_after(before), hint)
    refuse_unreadable(text)
    return text


def refuse_unreadable(text: str) -> None:
    """Raise BadSpec for control characters, which no job file needs and a terminal would obey."""
    found = _UNREADABLE.search(text)
    if found:
        message = f"The job file holds the control character {found.group()!r}."
        stop(message, _place_after(text[: found.start()]), "Remove it; a job file is plain text.")


def refuse_directives(text: str) -> None:
    """Raise BadSpec for YAML directives."""
    # The parser compares each %TAG with all before it: a megabyte of them would take many seconds.
    found = _DIRECTIVE.search(text)
    if found:
        message = "YAML directives (a line that starts with '%') are not read."
        stop(message, _place_after(text[: found.start()]), "Remove the line; a job file needs none.")


def checked_json(text: str) -> str:
    """Return `text`, which is valid JSON, with escaped surrogate pairs written out. Raises BadSpec."""

    def constant(word: str) -> NoReturn:
        place = _place_after(text[: max(0, text.find(word))])
        stop(f"{word} is not a number that a job file can hold.", place, "Write a finite number.")

    if not text.strip():
        return text
    try:
        json.loads(text, parse_constant=constant, parse_int=str, parse_float=str)
    except json.JSONDecodeError as error:
        stop(f"The job file is not valid JSON: {error.msg}.", Place(error.lineno, error.colno))
    except RecursionError:
        stop(f"The job file is nested deeper than {MAX_DEPTH} levels.", Place(1, 1))
    return _PAIR.sub(_join_pair, text)


def _join_pair(found: re.Match[str]) -> str:
    high, low = int(found.group(2), 16), int(found.group(3), 16)
    return found.group(1) + chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))


def _place_after(before: str) -> Place:
    breaks = list(_BREAK.finditer(before))
    start = breaks[-1].end() if breaks else 0
    return Place(len(breaks) + 1, len(before) - start + 1)


def has_tab(text: str, line: int) -> bool:
    """Tell whether that line of `text` (from 0), which could not be read, is indented with a tab."""
    lines = _BREAK.split(text, line + 1)
    return len(lines) > line and "\t" in lines[line][: len(lines[line]) - len(lines[line].lstrip())]
