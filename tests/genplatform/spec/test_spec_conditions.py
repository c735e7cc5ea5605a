"""What items are wished to be is held against the schema of the model that makes them."""

from __future__ import annotations

from typing import Any

import pytest

from genplatform.spec import condition_problems

NAMED: dict[str, Any] = {
    "additionalProperties": False,
    "properties": {
        "class": {"anyOf": [{"enum": ["0", "1", "cat"], "type": "string"}, {"type": "null"}], "default": None},
        "strength": {"type": "integer", "maximum": 5, "default": 1},
    },
    "type": "object",
}


@pytest.mark.parametrize("cond", [{}, {"class": "cat"}, {"class": 1}, {"class": None}, {"strength": 5}])
def test_a_condition_that_the_model_takes_is_good(cond: dict[str, Any]) -> None:
    assert condition_problems("digits@1", NAMED, cond) == []


@pytest.mark.parametrize(
    ("cond", "path", "message", "hint"),
    [
        ({"class": "dog"}, "cond.class", "one of '0', '1', 'cat' is expected", ""),
        ({"class": 7}, "cond.class", "one of '0', '1', 'cat' is expected", ""),
        ({"class": True}, "cond.class", "is expected", ""),
        ({"strength": 6}, "cond.strength", "at most 5 is expected", ""),
        ({"clas": "cat"}, "cond.clas", "digits@1 takes no 'clas'", "Did you mean 'class'?"),
    ],
)
def test_one_that_it_does_not_take_is_told_with_its_place(
    cond: dict[str, Any], path: str, message: str, hint: str
) -> None:
    (problem,) = condition_problems("digits@1", NAMED, cond)

    assert problem.path == path
    assert message in problem.message
    assert problem.hint == hint or not hint


def test_a_model_without_conditions_takes_none() -> None:
    (problem,) = condition_problems("noise@1", None, {"class": "cat"})

    assert problem.message == "cond: noise@1 takes no condition."
    assert condition_problems("noise@1", None, {}) == []
