"""Data that a job file names by a path from its own folder on: made absolute, its other bytes left as they are."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from genctl.jobfiles import YAML

# What an absolute path is called on the platform.
Name = Callable[[str], str]

SET = "data.source="
_RELATIVE = re.compile(r"(\.{1,2}|~)/")
# In JSON, documents in lines too: `"data": {... "source": "./..."`, of which the last text is replaced.
# What stands before it may hold an object, such as `augment`.
_IN_JSON = re.compile(rb'("data"\s*:\s*\{(?:[^{}]|\{[^{}]*\})*?"source"\s*:\s*)("(?:\.{1,2}|~)/(?:[^"\\]|\\.)*")')
_MARKS = (b"./", b"~/")


def with_absolute_sources(body: bytes, media_type: str, base: Path, name: Name = str) -> bytes:
    """Return a job file with each `data.source` that begins with ./, ../ or ~/ made absolute, seen from `base`.

    `name` may make something else of the absolute path, such as an upload.
    What cannot be read as a job file is returned as it is: the platform says what is wrong with it.
    """
    if b"source" not in body or not any(mark in body for mark in _MARKS):
        return body
    if media_type == YAML:
        return in_yaml(
            body, ("data", "source"), lambda text: name(absolute(text, base)) if _RELATIVE.match(text) else None
        )
    return _IN_JSON.sub(lambda found: found[1] + json.dumps(name(absolute(json.loads(found[2]), base))).encode(), body)


def with_absolute_set(given: str, base: Path, name: Name = str) -> str:
    """Return a `--set` with the path that it gives to data.source made absolute."""
    source = given.removeprefix(SET)
    return SET + name(absolute(source, base)) if given.startswith(SET) and _RELATIVE.match(source) else given


def absolute(source: str, base: Path) -> str:
    """Return a path that begins with ./, ../ or ~/ as an absolute one, and whatever else as it is."""
    if not _RELATIVE.match(source):
        return source
    return os.path.normpath(os.path.join(base.absolute(), os.path.expanduser(source)))


def in_yaml(body: bytes, field: Sequence[str], change: Callable[[str], str | None]) -> bytes:
    """Return YAML documents with the text in a field of each replaced by what `change` makes of it, if anything."""

    def find(document: Any) -> list[Any]:
        for key in field:
            document = _value(document, key)
        return [document]

    return rewritten(body, find, change)


def rewritten(body: bytes, find: Callable[[Any], Iterable[Any]], change: Callable[[str], str | None]) -> bytes:
    """Return YAML documents with the texts among the nodes that `find` gives replaced by what `change` makes of them.

    All other bytes stay; what is no YAML is returned as it is.
    """
    import yaml

    try:
        text = body.decode()
        nodes = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError):
        return body
    found = {}
    for document in nodes:
        for node in find(document):
            changed = change(node.value) if isinstance(node, yaml.ScalarNode) else None
            if changed is not None:
                found[node.start_mark.index, node.end_mark.index] = json.dumps(changed)
    for (start, end), written in sorted(found.items(), reverse=True):
        text = text[:start] + written + text[end:]
    return text.encode()


def _value(mapping: Any, key: str) -> Any:
    """Return the node that a mapping's node has under `key`, or None."""
    return next((value for name, value in pairs_of(mapping) if name.value == key), None)


def pairs_of(node: Any) -> list[tuple[Any, Any]]:
    """Return the keys and values of a mapping's node, and nothing of any other."""
    return list(node.value) if type(node).__name__ == "MappingNode" else []
