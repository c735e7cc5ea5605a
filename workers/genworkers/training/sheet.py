"""A sample sheet: what is drawn from fixed seeds, as a person can look at it.

Of pictures, a grid, enlarged; of texts, one after the other.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from genworkers.images import Payload
from genworkers.recipes.base import IMAGE, TEXT

PICTURES = 64
BESIDE, ACROSS = 21, 9  # of rows of the data: what was given, what was made of it and what is true, three times a line
TEXTS = 8
SMALLEST_SIDE = 48  # pixels of a picture on the sheet
GAP = 2


def beside(*columns: Sequence[Payload]) -> list[Payload]:
    """Return pictures in the order of reading, what belongs together side by side, all in colour if one is."""
    channels = max(column[0].shape[2] for column in columns)
    return [
        np.repeat(one, channels, 2) if one.shape[2] < channels else one
        for together in zip(*columns, strict=True)
        for one in together
    ]


def draw_sheet(pictures: Sequence[Payload], across: int | None = None) -> bytes:
    """Return a PNG of the pictures in rows, each enlarged by a whole number so that its pixels stay square."""
    height, width, channels = pictures[0].shape
    zoom = max(1, math.ceil(SMALLEST_SIDE / max(height, width)))
    across = across or math.ceil(math.sqrt(len(pictures)))
    down = math.ceil(len(pictures) / across)
    tall, wide = height * zoom + GAP, width * zoom + GAP
    sheet = np.full((down * tall + GAP, across * wide + GAP, channels), 32, dtype=np.uint8)
    for place, picture in enumerate(pictures):
        top, left = GAP + place // across * tall, GAP + place % across * wide
        sheet[top : top + height * zoom, left : left + width * zoom] = picture.repeat(zoom, 0).repeat(zoom, 1)
    out = io.BytesIO()
    Image.fromarray(sheet[:, :, 0] if channels == 1 else sheet).save(out, format="PNG")
    return out.getvalue()


def write_sheet(texts: Sequence[Payload]) -> bytes:
    """Return the texts as one, a numbered line before each."""
    shown = (f"--- {number}\n{text.tobytes().decode()}\n" for number, text in enumerate(texts))
    return "\n".join(shown).encode()


class Sheet(NamedTuple):
    """How many items one shows, how they become a file, and how such a file's name ends."""

    items: int
    draw: Callable[[Sequence[Payload]], bytes]
    extension: str


# Of a modality that is not here there are no sheets.
SHEETS = {IMAGE: Sheet(PICTURES, draw_sheet, "png"), TEXT: Sheet(TEXTS, write_sheet, "txt")}
