"""What items are wished to be is held against the schema of the model that makes them."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from genplatform.spec import Conditions

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
    assert Conditions("digits@1", NAMED).problems(cond) == []


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
    (problem,) = Conditions("digits@1", NAMED).problems(cond)

    assert problem.path == path
    assert message in problem.message
    assert problem.hint == hint or not hint


def test_a_model_without_conditions_takes_none() -> None:
    (problem,) = Conditions("noise@1", None).problems({"class": "cat"})

    assert problem.message == "cond: noise@1 takes no condition."
    assert Conditions("noise@1", None).problems({}) == []


@pytest.mark.parametrize(
    "schema",
    [
        {"type": 5},
        {"properties": []},
        {"properties": {"class": {"type": "string", "pattern": "("}}},
        {"$ref": "#/nowhere"},
        {"$ref": "#"},
        {"properties": {"class": {"anyOf": [True, {"type": ["string", "null"]}]}}, "required": 1},
        ["class"],
    ],
)
def test_a_broken_schema_in_a_models_card_is_one_clear_problem(schema: Any) -> None:
    (problem,) = Conditions("digits@1", schema).problems({"class": 1})

    assert problem.path == "cond"
    assert "the conditions that digits@1 says it takes are no JSON Schema" in problem.message


@pytest.mark.timeout(20)
def test_a_schema_elsewhere_is_not_fetched() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        door.setblocking(False)
        schema = {"$ref": f"http://127.0.0.1:{door.getsockname()[1]}/schema.json"}

        (problem,) = Conditions("digits@1", schema).problems({"class": 1})

        with pytest.raises(BlockingIOError):
            door.accept()
    assert "Unresolvable" in problem.message
