"""A small recipe book, and the shortest ways to load a file and to read what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from genplatform.errors import BadSpec, SpecProblem
from genplatform.spec import JobDocument, RecipeBook, load

GAN = {
    "name": "gan",
    "modality": "image",
    "summary": "A small GAN.",
    "trainable": True,
    "config": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "latent_dim": {"type": "integer", "minimum": 1, "maximum": 4096, "default": 100},
            "dropout": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
            "height": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}], "default": None},
            "widths": {"type": "array", "items": {"type": "integer"}, "maxItems": 3},
            "norm": {"enum": ["batch", "layer"]},
            "bias": {"type": "boolean"},
            "inner": {"$ref": "#/$defs/Inner"},
        },
        "$defs": {
            "Inner": {"type": "object", "properties": {"depth": {"type": "integer"}}, "additionalProperties": False}
        },
    },
    "cond": None,
    "formats": ["png"],
    "tile": 64,
}
NOISE = {"name": "noise", "modality": "image", "summary": "Noise.", "trainable": False, "config": {"type": "object"}}

Load = Callable[..., list[JobDocument]]
Problems = Callable[..., tuple[SpecProblem, ...]]


@pytest.fixture(scope="session")
def book() -> RecipeBook:
    return RecipeBook([NOISE, GAN])


@pytest.fixture(scope="session")
def load_text(book: RecipeBook) -> Load:
    """Load a job file's text."""

    def run(
        text: str | bytes,
        media_type: str = "application/yaml",
        sets: Sequence[str] = (),
        overrides: Mapping[str, str] | None = None,
    ) -> list[JobDocument]:
        body = text if isinstance(text, bytes) else text.encode()
        return load(body, media_type, book, sets, overrides)

    return run


@pytest.fixture(scope="session")
def problems_of(load_text: Load) -> Problems:
    """Load a job file's text that is wrong, and return what is wrong with it."""

    def run(text: str | bytes, **more: Any) -> tuple[SpecProblem, ...]:
        with pytest.raises(BadSpec) as caught:
            load_text(text, **more)
        return caught.value.problems

    return run
