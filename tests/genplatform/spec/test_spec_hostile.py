"""Whatever comes in, the loader answers with its own errors, in words that are safe to print, and soon."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from genplatform.errors import BadSpec, GenctlError
from genplatform.spec import RecipeBook, load

from .conftest import GAN, NOISE

BOOK = RecipeBook([GAN, NOISE])
MEGABYTE = 1 << 20


def later(number: int) -> str:
    """Return the names of the ninety jobs after this one."""
    return ",".join(f"n{number + step}" for step in range(1, 90))


BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE = {
    "alias bomb": BOMB,
    "quadratic aliases": "a: &a " + "x" * 1000 + "\nb: [" + "*a, " * 200_000 + "]",
    "deep flow": "[" * MEGABYTE,
    "deep mappings": "{a: " * (MEGABYTE // 4),
    "deep block": "- " * (MEGABYTE // 2),
    "many empties": "[" + "[], " * (MEGABYTE // 4),
    "many questions": "? " * (MEGABYTE // 2),
    "many documents": "---\n" * (MEGABYTE // 4),
    "many keys": "".join(f"k{n}: 1\n" for n in range(90_000)),
    "one key many times": "k: 1\n" * 200_000,
    "many directives": "".join(f"%TAG !a{n}! b\n" for n in range(60_000)) + "---\na",
    "one long word": "kind: " + "x" * (MEGABYTE - 10),
    "one long key": '"' + "x" * (MEGABYTE - 10) + '": 1',
    "long unknown fields": "kind: train\n" + "".join("x" * 1000 + f"{n}: 1\n" for n in range(900)),
    "many bad documents": "---\n{kind: train, recipe: gann, zzzz: 1}\n" * 1000,
    "many unnamed documents": "---\n{kind: generate, model: m, count: 1}\n" * 1000,
    "everybody needs later ones": "".join(
        f"---\n{{kind: generate, model: m, count: 1, name: n{n}, needs: [{later(n)}]}}\n" for n in range(990)
    ),
    "many wrong parameters": "kind: train\nrecipe: gan\nparams:\n" + "".join(f"  latent{n}: 1\n" for n in range(990)),
    "many wrong labels": "kind: train\nrecipe: gan\nlabels:\n" + "".join(f"  a b{n}: 1\n" for n in range(990)),
    "many needs": "kind: train\nrecipe: gan\nneeds: [" + "a, " * 999 + "]",
    "long number": "kind: train\nseed: " + "9" * (MEGABYTE - 30),
    "long decimal": "kind: train\nseed: 0." + "9" * (MEGABYTE - 30),
    "binary": "\x00\x01\x02" * 1000,
}


def check_answered(body: bytes, media_type: str = "application/yaml", sets: Sequence[str] = ()) -> Sequence[Any]:
    """Load; return the jobs or the problems, and check that whatever is said is safe to print."""
    try:
        return load(body, media_type, BOOK, sets)
    except GenctlError as error:
        problems = error.problems if isinstance(error, BadSpec) else ()
        for text in (error.message, error.hint, *(t for p in problems for t in (p.message, p.hint, p.path))):
            assert text.isprintable(), text
            assert len(text) < 2000
        return problems


@pytest.mark.timeout(20)  # each takes well under a second; a loader that is not bounded takes minutes
@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("media_type", ["application/yaml", "application/json"])
def test_a_hostile_file_is_answered_soon_and_safely(name: str, media_type: str) -> None:
    check_answered(HOSTILE[name].encode()[:MEGABYTE], media_type)


def test_an_alias_bomb_dies_at_its_first_anchor() -> None:
    with pytest.raises(BadSpec) as caught:
        load(BOMB.encode(), "application/yaml", BOOK)

    (problem,) = caught.value.problems
    assert "anchors" in problem.message
    assert (problem.line, problem.column) == (1, 4)


WORDS = st.sampled_from(
    [
        *("kind", "train", "generate", "name", "recipe", "gan", "model", "m@1", "count", "params", "latent_dim"),
        *("seed", "needs", "budget", "steps", "resources", "workers", "1..8", "labels", "retry", "on", "node_lost"),
    ]
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), WORDS)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5) | WORDS, inner, max_size=5)
)
JOBS = st.dictionaries(WORDS, VALUES, max_size=8).flatmap(
    lambda job: st.sampled_from([job | {"kind": "train"}, job | {"kind": "generate"}, job])
)
PUNCTUATION = st.text(alphabet=st.sampled_from(list(":-?[]{},&*!|>'\"%@`#\n\t \\ax1.~<=")), max_size=60)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["application/yaml", "application/json"]))
def test_any_bytes_are_answered(body: bytes, media_type: str) -> None:
    check_answered(body, media_type)


@settings(max_examples=300, deadline=None)
@given(PUNCTUATION)
def test_any_punctuation_is_answered(text: str) -> None:
    check_answered(text.encode())
    check_answered(b"kind: train\nrecipe: gan\nparams: " + text.encode())


@settings(max_examples=80, deadline=None)
@given(st.lists(JOBS, min_size=1, max_size=3))
def test_any_documents_are_answered_in_yaml_and_in_json(jobs: list[Any]) -> None:
    check_answered(yaml.safe_dump_all(jobs, allow_unicode=True).encode("utf-8", "replace"))
    check_answered(json.dumps(jobs).encode(), "application/json")


@settings(max_examples=150, deadline=None)
@given(st.one_of(PUNCTUATION, st.builds(lambda k, v: f"{k}={v}", WORDS, st.text(max_size=20) | PUNCTUATION)))
def test_any_set_is_answered(text: str) -> None:
    check_answered(b"{kind: train, recipe: gan}", sets=[text])
