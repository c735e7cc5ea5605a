"""Pictures that a condition gives to a model: asked for by reference, read by the engine before a recipe sees them.

A reference is an upload, `upload:SHA256/NAME`, of one picture or of a folder of them, one of
such a folder, `upload:SHA256/NAME#PICTURE`, or the picture itself, `data:image/png;base64,...`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema, create_model
from torch import Tensor

from genworkers.recipes.base import Condition

INLINE = "data:image/"
REFERENCE = "^(upload:[0-9a-f]{64}/|data:image/)"
LONGEST_REFERENCE = 1 << 20
_ABOUT = "The picture that the item is made of. Left out: noise of the item's seed, of which nothing good can be made."


@dataclass(frozen=True)
class Picture:
    """A picture as it was asked for; `pixels`, (channels, height, width) in [-1, 1], once the engine has read it."""

    reference: str
    pixels: Tensor | None = field(default=None, compare=False, repr=False)

    @property
    def told(self) -> str:
        """What a file says that it was made of: the reference, or the digest of a picture that came by itself."""
        if not self.reference.startswith(INLINE):
            return self.reference
        return f"sha256:{hashlib.sha256(self.reference.encode()).hexdigest()}"


@dataclass(frozen=True)
class PictureOf:
    """The size that a model takes a picture in: stands in the annotation of the condition's field."""

    channels: int
    height: int
    width: int


def _checked(value: Any) -> Picture:
    if isinstance(value, Picture):
        return value
    if not isinstance(value, str) or not value.startswith(("upload:", INLINE)) or len(value) > LONGEST_REFERENCE:
        raise ValueError("no upload of a picture, and no data:image/ URL")
    return Picture(value)


GivenPicture = Annotated[
    Picture,
    PlainValidator(_checked),
    PlainSerializer(lambda picture: picture.told, return_type=str),
    WithJsonSchema({"type": "string", "format": "picture", "pattern": REFERENCE, "maxLength": LONGEST_REFERENCE}),
]


class PictureCondition(Condition):
    """The picture that an item is made of."""

    source: GivenPicture | None = Field(default=None, description=_ABOUT)


@cache
def picture_condition(size: PictureOf) -> type[PictureCondition]:
    """Return the condition of a model that takes pictures of this size."""
    sized: Any = Annotated[GivenPicture | None, size]
    return create_model(
        "PictureCondition", __base__=PictureCondition, source=(sized, Field(default=None, description=_ABOUT))
    )


def pictures_in(schema: type[Condition]) -> Iterator[tuple[str, PictureOf]]:
    """Return the fields of a condition that are pictures, each with its size."""
    for name, about in schema.model_fields.items():
        for mark in about.metadata:
            if isinstance(mark, PictureOf):
                yield name, mark
