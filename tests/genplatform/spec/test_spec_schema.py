"""The published JSON Schema agrees with the loader, and every field explains itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from genplatform.spec import RecipeBook, job_file_schema

EXAMPLE = Path(__file__).parents[3] / "examples" / "digits.yaml"


def test_the_schema_is_one_and_takes_the_example() -> None:
    schema = job_file_schema(RecipeBook.builtin())

    Draft202012Validator.check_schema(schema)
    documents = list(yaml.safe_load_all(EXAMPLE.read_text()))
    assert len(documents) == 2
    for document in documents:
        Draft202012Validator(schema).validate(document)


@pytest.mark.parametrize(
    ("document", "is_good"),
    [
        ({"kind": "train", "recipe": "gan"}, True),
        ({"kind": "train", "recipe": f"upload:{'0a' * 32}/mine:Mine", "params": {"own": 1}}, True),
        ({"kind": "train", "recipe": "gann"}, False),
        ({"kind": "train", "recipe": "gan", "params": {"inner": {"depth": 2}}}, True),
        ({"kind": "generate", "model": "m@3", "count": 2, "resources": {"workers": "1..8"}}, True),
        ({"kind": "train", "recipe": "gan", "timeout": "2h", "progress_timeout": 90, "deadline": "1.5d"}, True),
        ({"kind": "train", "recipe": "gan", "deadline": "2026-12-01T12:00:00Z"}, True),
        ({"kind": "train", "recipe": "gan", "retry": {"budgets": {"out_of_memory": 1}}}, True),
        ({"kind": "train", "recipe": "gan", "retry": {"budgets": {"preempted": 1}}}, False),
        ({"kind": "train", "recipe": "gan", "timeout": "2 hours"}, False),
        ({"kind": "train", "recipe": "gan", "timeout": 0}, False),
        ({"kind": "train", "recipe": "gan", "progress_timeout": None}, False),
        ({"recipe": "gan"}, False),
        ({"kind": "evaluate"}, False),
        ({"kind": "evaluate", "model": "m"}, True),
        ({"kind": "evaluate", "model": "m@2", "data": {"source": "digits"}, "metrics": ["recall"]}, True),
        ({"kind": "evaluate", "model": "m", "metrics": ["beauty"]}, False),
        ({"kind": "evaluate", "model": "m", "samples": 1}, False),
        ({"kind": "train", "recipe": "gan", "privacy": {"epsilon": 8, "delta": 1e-5}}, True),
        ({"kind": "train", "recipe": "gan", "privacy": {"epsilon": 8}}, False),
        ({"kind": "train", "recipe": "gan", "privacy": {"epsilon": 0, "delta": 1e-5}}, False),
        ({"kind": "compress", "model": "m@2", "method": "int8"}, True),
        ({"kind": "compress", "model": "m", "method": "bf16", "samples": 500, "data": {"source": "digits"}}, True),
        ({"kind": "compress", "model": "m"}, False),
        ({"kind": "compress", "model": "m", "method": "int4"}, False),
        ({"kind": "compress", "model": "m", "method": "int8", "resources": {"workers": 2}}, False),
        ({"kind": "train", "recipe": "gan", "evaluate": True}, True),
        ({"kind": "train", "recipe": "gan", "evaluate": {"samples": 500}}, True),
        ({"kind": "train", "recipe": "gan", "evaluate": "yes please"}, False),
        ({"kind": "train"}, False),
        ({"kind": "train", "recipe": "noise"}, False),
        ({"kind": "train", "recipe": "gan", "count": 1}, False),
        ({"kind": "train", "recipe": "gan", "params": {"inner": {"dep": 2}}}, False),
        ({"kind": "train", "recipe": "gan", "params": {"latent_dim": 0}}, False),
        ({"kind": "train", "recipe": "gan", "resources": {"workers": 2}}, True),
        ({"kind": "train", "recipe": "gan", "resources": {"workers": "1..4"}}, True),
        ({"kind": "train", "recipe": "gan", "resources": {"workers": 0}}, False),
        ({"kind": "train", "recipe": "gan", "budget": {"epochs": 2}}, True),
        ({"kind": "train", "recipe": "gan", "budget": {"epochs": 2, "steps": 2}}, False),
        ({"kind": "train", "recipe": "gan", "budget": {}}, False),
        ({"kind": "train", "recipe": "gan", "optimization": {"precision": "bf16", "max_grad_norm": 1}}, True),
        ({"kind": "train", "recipe": "gan", "optimization": {"precision": "int8"}}, False),
        ({"kind": "train", "recipe": "gan", "early_stopping": {"metric": "validation_loss"}}, True),
        ({"kind": "train", "recipe": "gan", "early_stopping": {}}, False),
        ({"kind": "train", "recipe": "gan", "checkpoint": {"best": "loss", "publish": "best"}}, True),
        ({"kind": "train", "recipe": "gan", "checkpoint": {"publish": "best"}}, False),
        ({"kind": "train", "recipe": "gan", "name": "a b"}, False),
        ({"kind": "generate", "model": "m"}, False),
        ({"kind": "generate", "model": "m", "count": 0}, False),
        ({"kind": "generate", "model": "m", "count": 1, "output": {"format": "gif"}}, False),
        ({"kind": "generate", "model": "m", "count": 1, "retry": {"on": ["nothing"]}}, False),
    ],
)
def test_schema_and_loader_agree(
    book: RecipeBook, problems_of: Any, load_text: Any, document: Any, is_good: bool
) -> None:
    text = yaml.safe_dump(document)

    assert Draft202012Validator(job_file_schema(book)).is_valid(document) is is_good
    if is_good:
        assert len(load_text(text)) == 1
    else:
        assert problems_of(text)


def _undescribed(definitions: dict[str, Any]) -> Iterator[str]:
    for name, definition in definitions.items():
        for field, part in definition.get("properties", {}).items():
            referred = definitions.get(part.get("$ref", "").removeprefix("#/$defs/"), {})
            if "." not in name and not (part.get("description") or referred.get("description")):
                yield f"{name}.{field}"


def test_every_field_is_described(book: RecipeBook) -> None:
    assert list(_undescribed(job_file_schema(book)["$defs"])) == []
