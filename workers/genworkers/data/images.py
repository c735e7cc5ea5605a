"""Folders and archives of images: class folders, a captions.tsv, or neither; decoded by Pillow."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from genplatform.errors import BadRequest
from genworkers.data.bounds import BadItem, Skipped
from genworkers.data.files import Files
from genworkers.data.kept import FOLDER, Gathering, KeptPictures
from genworkers.data.rows import Array

# Formats that are data and nothing else: none that is a program, or that starts one.
PILLOW_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
CAPTIONS = "captions.tsv"
FILE_COLUMNS = ("file", "file_name", "filename", "path")

_GREY_MODES = ("1", "L", "LA", "I", "I;16", "F")


class _Item(NamedTuple):
    name: str
    label: str | None
    columns: Mapping[str, str]


class Decoder:
    """Bytes to pictures of one declared size and number of channels, uint8, height x width x channels."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        size = options.get("size")
        self._size = None if size is None else (size, size) if isinstance(size, int) else (size[0], size[1])
        self._fit = options.get("fit") or "crop"
        self._channels = options.get("channels")

    def decode(self, data: bytes) -> Array:
        """Return the picture; raises BadItem for what is none."""
        try:
            with warnings.catch_warnings():
                # What Pillow warns of is a picture that would take all memory.
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with Image.open(io.BytesIO(data), formats=PILLOW_FORMATS) as image:
                    upright = ImageOps.exif_transpose(image)
                    return self._array(_eight_bits(upright) if upright.mode.startswith("I;16") else upright)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise BadItem(f"has more than {Image.MAX_IMAGE_PIXELS:,} pixels") from None
        except UnidentifiedImageError:
            raise BadItem("is not an image" if data else "is empty") from None
        except MemoryError:
            raise
        except Exception as error:  # its decoders raise what they like
            raise BadItem(f"cannot be decoded: {error}") from None

    def _array(self, image: Image.Image) -> Array:
        if self._channels is None:
            self._channels = 1 if image.mode in _GREY_MODES else 3
        if "A" in image.getbands() or "transparency" in image.info:
            seen = image.convert("RGBA")
            ground = Image.new("RGBA", seen.size, (255, 255, 255, 255))
            image = Image.alpha_composite(ground, seen)
        image = image.convert("L" if self._channels == 1 else "RGB")
        if self._size is not None:
            image = self._resized(image, *self._size)
        array = np.asarray(image, dtype=np.uint8)
        return array[:, :, None] if array.ndim == 2 else array

    def _resized(self, image: Image.Image, height: int, width: int) -> Image.Image:
        if image.size == (width, height):
            return image
        sharp = Image.Resampling.LANCZOS
        if self._fit == "pad":
            return ImageOps.pad(image, (width, height), sharp, color="white")
        return (
            image.resize((width, height), sharp)
            if self._fit == "stretch"
            else ImageOps.fit(image, (width, height), sharp)
        )


def read_images(files: Files, options: Mapping[str, Any]) -> KeptPictures:
    """Read all pictures of a folder or archive, those that its captions.tsv names if it has one."""
    names = [name for name in files.names if is_image(name)]
    captioned = CAPTIONS in files.names
    items = _captioned(files, options.get("label")) if captioned else _by_folder(names)
    refused = [one for one in files.refused if is_image(one.name) or one.is_folder or captioned]
    skipped = Skipped(files.title, options.get("skip", 0), len(items) + len(refused))
    for one in refused:
        skipped.add(one.name, one.why)
    gathering, decoder = Gathering(files.title, options, skipped), Decoder(options)
    known = _by_bare_name(names) | {name: name for name in names}
    for item in items:
        try:
            if item.name not in known:
                raise BadItem(f"is named in {CAPTIONS}, and is not there")
            gathering.add(decoder.decode(files.read(known[item.name])), item.label, item.columns)
        except BadItem as error:
            skipped.add(item.name, str(error))
    return gathering.made()


def is_image(name: str) -> bool:
    """Tell whether a file's name says that it is an image."""
    return name.lower().endswith(SUFFIXES)


def _by_bare_name(names: list[str]) -> dict[str, str]:
    """Return the pictures whose name, without its folder, no other has: a table may name them by it."""
    bare = [PurePosixPath(name).name for name in names]
    count = Counter(bare)
    return {short: name for short, name in zip(bare, names, strict=True) if count[short] == 1}


def _eight_bits(image: Image.Image) -> Image.Image:
    return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))


def _by_folder(names: list[str]) -> list[_Item]:
    """Take the first folder as the class, where every picture lies in one."""
    classes = all("/" in name for name in names)
    return [
        _Item(name, name.split("/", 1)[0] if classes else None, {FOLDER: str(PurePosixPath(name).parent)})
        for name in names
    ]


def _captioned(files: Files, label: str | None) -> list[_Item]:
    """Read which files there are, with what is said of each, from the table beside them."""
    try:
        text = files.read(CAPTIONS).decode("utf-8-sig")
    except (BadItem, UnicodeDecodeError) as error:
        raise BadRequest(f"{CAPTIONS} of {files.title} cannot be read: {error}.", "Save it as UTF-8.") from None
    # Of all that is a line's end to Unicode, a caption may hold what is none to an editor.
    table = (line.rstrip("\n").split("\t") for line in io.StringIO(text, newline=None))
    head = next(table, [])
    file_column = next((name for name in FILE_COLUMNS if name in head), None)
    if file_column is None:
        raise BadRequest(
            f"{CAPTIONS} of {files.title} has no column `file` in its first line.",
            "Its first line names its columns, with a tab between them; `file` is each picture's path.",
        )
    if label is not None and label not in head:
        raise BadRequest(f"{CAPTIONS} of {files.title} has no column {label!r}.", f"It has: {', '.join(head)}.")
    return list(_lines(table, head, file_column, label))


def _lines(table: Iterator[list[str]], head: list[str], file_column: str, label: str | None) -> Iterator[_Item]:
    for line in table:
        row = dict(zip(head, line, strict=False)) | dict.fromkeys(head[len(line) :], "")
        name = row.pop(file_column)
        if name:
            columns = {FOLDER: str(PurePosixPath(name).parent)} | row
            yield _Item(name, row.get(label, name) if label is not None else None, columns)
