"""How a job and a card name a recipe's code, and how its files may be called."""

from __future__ import annotations

from typing import Any

import pytest

from genplatform.domain import recipe_code
from genplatform.domain.recipe_code import RecipeCode, is_plain, of_card, parse

CODE = RecipeCode("0a" * 32, "package.module", "Class")


def test_code_is_read_as_it_is_written_in_a_job_and_in_a_card() -> None:
    assert parse(str(CODE)) == CODE
    assert of_card(CODE.as_json()) == CODE
    assert of_card(None) is None


@pytest.mark.parametrize(
    "text",
    ["gan", "upload:/m:C", f"upload:{'0a' * 32}/m", f"upload:{'0A' * 32}/m:C", f"upload:{'0a' * 32}/../m:C",
     f"upload:{'0a' * 32}/m:C\n", f"upload:{'0a' * 32}/m..n:C", f"upload:{'0a' * 32}/m:C.D"],
)  # fmt: skip
def test_what_is_of_another_form_names_no_code(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize("told", ["x", {"sha256": "0a"}, [1], {**CODE.as_json(), "class": "C; import os"}])
def test_a_card_that_says_something_else_is_not_believed(told: Any) -> None:
    with pytest.raises(ValueError, match="names no recipe's code"):
        recipe_code.of_card(told)


@pytest.mark.parametrize("path", ["a.py", "pack/__init__.py", "a/b/c-1.2+x@y z.txt"])
def test_plain_paths_may_be_files_of_it(path: str) -> None:
    assert is_plain(path)


@pytest.mark.parametrize(
    "path", ["", "/a", "a//b", "../a", "a/../b", ".hidden", "a/.git/x", "a\\b", "a\0", "a\n", "C:x", "é"]
)
def test_others_may_not(path: str) -> None:
    assert not is_plain(path)
