"""Folders and archives of images: class folders, a captions.tsv, or neither; decoded by Pillow."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from genworkers.data.bounds import BadItem
from genworkers.data.files import Files
from genworkers.data.kept import KeptPictures
from genworkers.data.listing import read_each
from genworkers.data.rows import Array

# Formats that are data and nothing else: none that is a program, or that starts one.
PILLOW_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")

_GREY_MODES = ("1", "L", "LA", "I", "I;16", "F")


class Decoder:
    """Bytes to pictures of one declared size and number of channels, uint8, height x width x channels."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        size = options.get("size")
        self._size = None if size is None else (size, size) if isinstance(size, int) else (size[0], size[1])
        self._fit = options.get("fit") or "crop"
        self._channels = options.get("channels")

    def decode(self, data: bytes) -> Array:
        """Return the picture; raises BadItem for what is none."""
        with opened(data) as image:
            return self.array(image)

    def array(self, image: Image.Image) -> Array:
        """Return a picture that is `opened` as the array that was declared."""
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


@contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
    """Open a picture, upright; raises BadItem for what is none, when its pixels are read within too."""
    try:
        with warnings.catch_warnings():
            # What Pillow warns of is a picture that would take all memory.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=PILLOW_FORMATS) as image:
                upright = ImageOps.exif_transpose(image)
                yield _eight_bits(upright) if upright.mode.startswith("I;16") else upright
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadItem(f"has more than {Image.MAX_IMAGE_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        raise BadItem("is not an image" if data else "is empty") from None
    except (BadItem, MemoryError):
        raise
    except Exception as error:  # its decoders raise what they like
        raise BadItem(f"cannot be decoded: {error}") from None


def read_images(files: Files, options: Mapping[str, Any], table: str | None = None) -> KeptPictures:
    """Read all pictures of a folder or archive, those that its captions.tsv or `table` names if it has one."""
    return read_each(files, options, is_image, Decoder(options).decode, table).made()


def is_image(name: str) -> bool:
    """Tell whether a file's name says that it is an image."""
    return name.lower().endswith(SUFFIXES)


def _eight_bits(image: Image.Image) -> Image.Image:
    return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
