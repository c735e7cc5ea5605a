"""What a model learns from, and how that is split."""

from __future__ import annotations

import posixpath
import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema, field_validator, model_validator

from genplatform.domain.paths import fixed_part
from genplatform.domain.uploads import UPLOAD_PATTERN, is_upload
from genplatform.spec.common import HIGHEST_SEED, SpecPart, one_of
from genplatform.spec.hub import parse_hub
from genplatform.spec.refusals import refuse
from genplatform.spec.words import shown, suggestion

SOURCES = ("digits", "topics")
# Where files may lie elsewhere. Not among them: whatever means this machine's own files.
SCHEMES = ("http", "https", "s3", "gs", "gcs", "az", "abfs", "abfss", "hdfs", "webhdfs", "sftp", "ftp")
LONGEST_SOURCE = 4000
LARGEST_SIDE = 4096

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def is_path(source: str) -> bool:
    """Tell whether a source is the path of files on this machine."""
    return source.startswith("/")


def _checked_source(text: str) -> str:
    if text in SOURCES or is_upload(text):
        return text
    if "\0" in text:
        raise refuse("holds a NUL, which no path can", "Leave it out.")
    if _SCHEME.match(text):
        return _checked_url(text)
    if is_path(text):
        return _checked_path(text)
    if any(mark in text for mark in "/*.:\\"):
        hint = "Write an absolute path. `genctl submit` makes one of a path that begins with ./, ../ or ~/ by itself."
        raise refuse(f"{shown(text)} does not say from which folder on", hint)
    raise refuse(f"there is no data source {shown(text)}", suggestion(text, SOURCES, "Possible now"))


def _checked_path(path: str) -> str:
    if posixpath.normpath(path) != (path.rstrip("/") or "/"):
        raise refuse(f"{shown(path)} is not a plain path", "Write it without '.', '..' and doubled slashes.")
    if fixed_part(path) == "/":
        raise refuse(f"{shown(path)} takes in the whole machine", "Name a folder, a file, or files in a folder.")
    return path


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise refuse(f"{shown(url)} is not a URL") from None
    if parts.scheme == "hf":
        if parse_hub(url) is None:
            raise refuse(f"{shown(url)} names no data set of the hub", "Write it as hf://OWNER/NAME@REVISION//FILES.")
        return url
    if parts.scheme not in SCHEMES:
        raise refuse(f"data cannot come from {parts.scheme}://", f"Possible: {', '.join(SCHEMES)}; or a path.")
    if "::" in url:
        raise refuse(f"{shown(url)} chains URLs, which is not possible", "Name the file itself.")
    if not parts.netloc or not url.isprintable():
        raise refuse(f"{shown(url)} is not a URL", "Write it as https://HOST/PATH or s3://BUCKET/FOLDER.")
    if "@" in parts.netloc:
        # Whoever may see the job sees its spec.
        raise refuse("a password in a URL would be seen by all who see the job", "Let the nodes hold it.")
    if not {".", ".."}.isdisjoint(parts.path.split("/")):
        raise refuse(f"{shown(url)} is not a plain URL", "Write it without '.' and '..'.")
    return parts.geturl()


Source = Annotated[
    str,
    Field(max_length=LONGEST_SOURCE),
    AfterValidator(_checked_source),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "enum": list(SOURCES)},
                {"type": "string", "pattern": "^(/|\\./|\\.\\./|~/|[a-z0-9]+://)", "maxLength": LONGEST_SOURCE},
                {"type": "string", "pattern": UPLOAD_PATTERN},
            ]
        }
    ),
]

_SIDE = {"type": "integer", "minimum": 1, "maximum": LARGEST_SIDE}


def _is_side(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST_SIDE


def _checked_size(value: Any) -> int | list[int]:
    if _is_side(value) or (isinstance(value, list) and len(value) == 2 and all(map(_is_side, value))):
        return value  # type: ignore[no-any-return]
    hint = f"Write one side such as 32, or [height, width], each from 1 to {LARGEST_SIDE}."
    raise refuse(f"is {shown(value)}, and not the size of a picture", hint)


Size = Annotated[
    int | list[int],
    PlainValidator(_checked_size),
    WithJsonSchema({"anyOf": [_SIDE, {"type": "array", "items": _SIDE, "minItems": 2, "maxItems": 2}]}),
]


def _checked_skip(value: Any) -> int | float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if isinstance(value, int) and value >= 0:
            return value
        if isinstance(value, float) and 0 <= value < 1:
            return value
    hint = "Write how many, such as 10, or a share below 1, such as 0.01."
    raise refuse(f"is {shown(value)}, and not a number of items to skip", hint)


Skip = Annotated[
    int | float,
    PlainValidator(_checked_skip),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "number", "minimum": 0, "maximum": 1}]}),
]

FORMATS = ("images", "idx", "npz", "parquet", "csv", "pairs", "audio", "text", "jsonl")
FITS = ("crop", "pad", "stretch")
CUTS = ("file", "paragraph", "line")
LARGEST_DOCUMENT = 1 << 26


def _checked_documents(value: Any) -> str | int:
    if value in CUTS or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST_DOCUMENT):
        return value  # type: ignore[no-any-return]
    hint = f"Write {', '.join(CUTS)}, or a number of bytes: blank lines cut it once there are so many."
    raise refuse(f"is {shown(value)}, and does not say what a document is", hint)


Cut = Annotated[
    str | int,
    PlainValidator(_checked_documents),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "enum": list(CUTS)},
                {"type": "integer", "minimum": 1, "maximum": LARGEST_DOCUMENT},
            ]
        }
    ),
]


class Augment(SpecPart):
    """How pictures are changed a little each time that they are learned from."""

    flip: bool = Field(default=False, description="Whether every other picture, by chance, is mirrored.")
    shift: int = Field(default=0, ge=0, le=256, description="By how many pixels a picture is moved at most, each way.")


class Pairs(SpecPart):
    """Which picture of a pair is given to the model, and which it is to make of it."""

    source: str = Field(
        min_length=1, max_length=200, description="The folder of the pictures that are given, or the side: left, right."
    )
    target: str = Field(
        min_length=1, max_length=200, description="The folder of the pictures that are made, or the side: left, right."
    )

    @model_validator(mode="after")
    def _two(self) -> Pairs:
        if self.source.strip("/") == self.target.strip("/"):
            raise refuse(f"names {shown(self.source)} twice", "Name two folders, or left and right.")
        return self


class Data(SpecPart):
    """What a model learns from."""

    source: Source = Field(
        default="digits",
        description="Where the data is: a built-in source, a folder, a file, a pattern (./photos/*.png), a URL, or hf://OWNER/NAME.",
    )
    format: one_of("format", FORMATS) | None = Field(  # type: ignore[valid-type]
        default=None, description="What the files are. Left out: told by their names."
    )
    size: Size | None = Field(
        default=None,
        description="The size that pictures are brought to: one side, or [height, width]. Left out: all must have one.",
    )
    fit: one_of("fit", FITS) = Field(  # type: ignore[valid-type]
        default="crop", description="How a picture of another shape is brought to `size`: crop, pad or stretch it."
    )
    channels: Literal[1, 3] | None = Field(
        default=None, description="1 for grey, 3 for colour. Left out: as the first picture is."
    )
    range: list[float] | None = Field(
        default=None,
        min_length=2,
        max_length=2,
        description="The values that become -1 and 1. Left out: 0 and 255, for whole numbers of 8 bits.",
    )
    column: str | None = Field(
        default=None,
        max_length=200,
        description="The column or array that holds the items. Left out: told by its name.",
    )
    label: str | None = Field(
        default=None,
        max_length=200,
        description="The column or array that holds the classes. Left out: told by its name.",
    )
    pairs: Pairs | None = Field(
        default=None,
        description="Of a pair, what is given and what is made. Left out: folders A and B, else left and right.",
    )
    seconds: float | None = Field(
        default=None,
        gt=0,
        le=600,
        description="The length that sounds are cut or, with silence, filled up to. Left out: all must have one.",
    )
    rate: int | None = Field(
        default=None,
        ge=100,
        le=384_000,
        description="Samples a second that sounds are brought to. Left out: all must have one rate.",
    )
    documents: Cut | None = Field(
        default=None,
        description="What a document of plain text is: a file, a paragraph, a line, or paragraphs of so many bytes. "
        "Left out: a paragraph where there is one file, else a file.",
    )
    augment: Augment | None = Field(
        default=None, description="How pictures are changed a little each time that they are learned from."
    )
    skip: Skip = Field(
        default=0,
        description="How many items that cannot be read may be left out, as a number or a share; more is an error.",
    )

    @field_validator("range")
    @classmethod
    def _has_width(cls, given: list[float] | None) -> list[float] | None:
        if given is not None and not given[0] < given[1]:
            raise refuse("has no lower and higher end", "Write the lower value first, such as [0, 1].")
        return given

    @model_validator(mode="after")
    def _takes_its_options(self) -> Data:
        if self.source in SOURCES:
            for name, field in type(self).model_fields.items():
                if name not in ("source", "augment") and getattr(self, name) != field.default:
                    raise refuse(f"the built-in source {self.source} takes no {name}", "Leave it out.")
        if self.pairs is not None and self.format not in (None, "pairs"):
            raise refuse(f"data of the format {self.format} has no pairs", "Say format: pairs, or leave `pairs` out.")
        return self


class Split(SpecPart):
    """The shares of the data: what is learned from, what guides, what judges."""

    train: float = Field(default=0.70, gt=0, le=1, description="The share that the model learns from.")
    validation: float = Field(default=0.15, ge=0, le=1, description="The share that is looked at while it learns.")
    test: float = Field(default=0.15, ge=0, le=1, description="The share that nothing sees before the model is judged.")
    by: str = Field(
        default="item",
        min_length=1,
        max_length=200,
        description="What is never parted: item, folder (all that lie in one), content (equal ones), or a column.",
    )
    seed: int = Field(default=0, ge=0, le=HIGHEST_SEED, description="Another seed parts it otherwise.")

    @model_validator(mode="after")
    def _whole(self) -> Split:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-6:
            raise refuse(f"its shares add up to {total:.6g}, not to 1", "Give train, validation and test, in all 1.")
        return self
