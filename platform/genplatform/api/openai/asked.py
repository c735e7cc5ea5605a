"""What an image request asks for: OpenAI's fields, each taken, or refused by its name.

Unknown fields are ignored, as OpenAI's clients expect; fields that OpenAI knows and this
platform does not offer are refused, because a picture made without them would be a wrong
answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genplatform.api.bodies import json_object
from genplatform.api.openai.errors import refused, unsupported
from genplatform.domain.seeds import item_seed

MOST_PICTURES = 10
SEED_END = 2**63

# Field -> the values that ask for nothing but what is done anyway. Null always does.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "background": ("auto", "opaque"),
    "complexity": (),
    "frame_count": (),
    "frame_duration_ms": (),
    "moderation": ("auto",),
    "output_compression": (),
    "output_format": ("png",),
    "partial_images": (0,),
    "prompt_rewriter": (),
    "quality": ("auto",),
    "response_format": ("b64_json",),
    "stream": (False,),
    "style": (),
    "svg": (),
}
_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})\Z")


@dataclass(frozen=True)
class ImagesAsked:
    """One image request. `size` None means the model's own; `seed` None, one at random."""

    model: str
    prompt: str
    n: int
    size: str | None
    seed: int | None


def read_images(body: bytes) -> ImagesAsked:
    """Read the body of `POST /v1/images/generations`; raises `BadRequest` that names the field."""
    fields = json_object(body)
    neutral(fields, _NEUTRAL)
    return ImagesAsked(
        model=required_model(fields),
        prompt=_text(fields, "prompt"),
        n=whole(fields, "n", 1, MOST_PICTURES + 1) or 1,
        size=_size(fields),
        seed=whole(fields, "seed", 0, SEED_END),
    )


def neutral(fields: Mapping[str, Any], asking_nothing: Mapping[str, tuple[Any, ...]]) -> None:
    """Refuse each field, by its name, whose value is none of those that ask for nothing but what is done anyway."""
    for name, good_ones in asking_nothing.items():
        value = fields.get(name)
        # The types are compared too: to Python, 0 equals False.
        if value is not None and not any(type(value) is type(good) and value == good for good in good_ones):
            raise unsupported(name, value)


def seeds_of(seed: int, n: int) -> list[int]:
    """Return the seeds of a request's pictures: the k-th uses index k."""
    return [item_seed(seed, k) for k in range(n)]


def condition(prompt: str, schema: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the condition that `prompt` means to a model with this JSON Schema of conditions.

    A model without conditions takes an empty prompt only; one of classes takes a class name.
    """
    wanted = prompt.strip()
    classes = _classes(((schema or {}).get("properties") or {}).get("class", {}))
    if not wanted:
        return None
    if not classes:
        raise refused("prompt", "This model takes no text: its pictures depend on the seed alone.", 'Send prompt="".')
    if wanted not in classes:
        shown = ", ".join(str(name) for name in classes[:20])
        raise refused("prompt", f"This model has no class {wanted[:60]!r}.", f"Send one of: {shown}.")
    return {"class": wanted}


def _classes(field: Mapping[str, Any]) -> list[Any]:
    """Return the names that a schema's field takes; where it may be left out, it is one of them or null."""
    choices = [field, *(field.get("anyOf") or ())]
    return [name for choice in choices for name in (choice.get("enum") or [choice.get("const")]) if name is not None]


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise refused(name, f"{name} is not a text.", "", "invalid_type")
    return value


def required_model(fields: Mapping[str, Any]) -> str:
    """Return which model is asked for; raises `BadRequest` where none is."""
    model = _text(fields, "model")
    if not model:
        raise refused(
            "model", "The request names no model.", "GET /v1/models lists what is served.", "missing_required_parameter"
        )
    return model


def whole(fields: Mapping[str, Any], name: str, start: int, end: int) -> int | None:
    """Return a field that is a whole number in [start, end), or None when it is not given."""
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise refused(name, f"{name} is not a whole number.", "", "invalid_type")
    if not start <= value < end:
        raise refused(name, f"{name} must lie between {start} and {end - 1}.")
    return value


def _size(fields: Mapping[str, Any]) -> str | None:
    size = _text(fields, "size")
    if size in {"", "auto"}:
        return None
    if not _SIZE.match(size):
        raise refused("size", f"size={size[:40]!r} is not WIDTHxHEIGHT.", 'Send "auto" for the model\'s own size.')
    return size
