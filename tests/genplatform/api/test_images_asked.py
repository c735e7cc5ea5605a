"""An image request: what is taken, and what is refused by its name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from genplatform.api.openai.asked import ImagesAsked, condition, read_images, seeds_of
from genplatform.domain.seeds import item_seed
from genplatform.errors import BadRequest

LEAST = {"model": "digits", "prompt": ""}


def read(**fields: Any) -> ImagesAsked:
    return read_images(json.dumps(LEAST | fields).encode())


def test_the_least_request_asks_for_one_picture_of_the_models_own_size() -> None:
    assert read() == ImagesAsked(model="digits", prompt="", n=1, size=None, seed=None)


def test_all_that_is_offered_is_taken() -> None:
    asked = read(
        n=10,
        size="8x8",
        seed=2**63 - 1,
        response_format="b64_json",
        output_format="png",
        quality="auto",
        background="opaque",
        moderation="auto",
        stream=False,
        partial_images=0,
        user="u",
        safety_identifier="s",
    )

    assert asked == ImagesAsked(model="digits", prompt="", n=10, size="8x8", seed=2**63 - 1)


def test_unknown_fields_are_ignored_and_null_asks_for_nothing() -> None:
    asked = read(frobnicate=7, prompt=None, n=None, size=None, seed=None, style=None, quality=None, svg=None)

    assert asked == read()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("response_format", "url"),
        ("output_format", "webp"),
        ("output_format", "PNG"),
        ("quality", "hd"),
        ("background", "transparent"),
        ("style", "vivid"),
        ("moderation", "low"),
        ("stream", True),
        ("stream", 0),
        ("partial_images", 2),
        ("partial_images", False),
        ("output_compression", 50),
        ("frame_count", 3),
        ("svg", {"model": "x"}),
        ("n", 0),
        ("n", 11),
        ("n", 2.0),
        ("n", True),
        ("n", "2"),
        ("size", "big"),
        ("size", "0x8"),
        ("size", 8),
        ("seed", -1),
        ("seed", 2**63),
        ("seed", 1.5),
        ("seed", "7"),
        ("prompt", ["a"]),
        ("model", ""),
        ("model", None),
        ("model", 7),
    ],
)
def test_what_is_not_offered_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(BadRequest) as caught:
        read(**{name: value})

    assert caught.value.details["param"] == name


def test_the_kth_picture_uses_index_k_of_the_requests_seed() -> None:
    assert seeds_of(7, 3) == [item_seed(7, 0), item_seed(7, 1), item_seed(7, 2)]


def test_a_model_without_conditions_takes_an_empty_prompt_only() -> None:
    assert condition(" ", None) is None
    with pytest.raises(BadRequest, match="takes no text"):
        condition("a cat", None)


def test_a_model_of_classes_takes_a_class_name() -> None:
    schema = {"type": "object", "properties": {"class": {"enum": ["zero", "one"]}}}

    assert condition("one", schema) == {"class": "one"}
    assert condition("", schema) is None
    with pytest.raises(BadRequest, match="no class 'three'"):
        condition("three", schema)
