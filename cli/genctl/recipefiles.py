"""Recipes of one's own in a job file: what names one by its code is replaced by what the code is called there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from genctl.datafiles import in_yaml
from genctl.jobfiles import LINES, YAML
from genctl.recipecode import is_own

# What the platform calls the code that a job file names.
Name = Callable[[str], str]

SET = "recipe="
_IN_JSON = re.compile(rb'("recipe"\s*:\s*)("(?:[^"\\]|\\.)*:(?:[^"\\]|\\.)*")')


def with_sent_recipes(body: bytes, media_type: str, name: Name) -> bytes:
    """Return a job file with each `recipe` that is code named by what `name` makes of it, all else left as it is.

    What cannot be read as a job file is returned as it is: the platform says what is wrong with it.
    """
    if b"recipe" not in body or b":" not in body:
        return body
    if media_type == YAML:
        return in_yaml(body, ("recipe",), lambda text: name(text) if is_own(text) else None)
    if not _IN_JSON.search(body):
        return body
    ours = _recipes(body, media_type)

    def sent(found: re.Match[bytes]) -> bytes:
        text = json.loads(found[2])
        return found[1] + json.dumps(name(text)).encode() if text in ours else found[0]

    return _IN_JSON.sub(sent, body)


def with_sent_recipe_set(given: str, name: Name) -> str:
    """Return a `--set` with the code that it names as a recipe called as the platform calls it."""
    recipe = given.removeprefix(SET)
    return SET + name(recipe) if given.startswith(SET) and is_own(recipe) else given


def _recipes(body: bytes, media_type: str) -> set[str]:
    """Return what the documents themselves, and not something in their params, name as recipes of one's own."""
    try:
        whole = [json.loads(line) for line in body.splitlines() if line.strip()] if media_type == LINES else None
        documents = json.loads(body) if whole is None else whole
    except (ValueError, RecursionError):
        return set()
    found = [
        one.get("recipe")
        for one in (documents if isinstance(documents, list) else [documents])
        if isinstance(one, dict)
    ]
    return {text for text in found if isinstance(text, str) and is_own(text)}
