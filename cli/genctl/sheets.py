"""Sheets of samples side by side in one picture, each under its model's name."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from genplatform.errors import BadRequest

GAP = 8
TITLE = 20
GROUND, INK = (32, 32, 32), (235, 235, 235)
LARGEST = 64_000_000  # pixels of a sheet: more is no sheet of samples


def side_by_side(named: Sequence[tuple[str, bytes]]) -> bytes:
    """Return a PNG of these PNGs in a row; raises BadRequest when one is none, or larger than a sheet can be."""
    from PIL import Image, ImageDraw

    pictures = []
    for name, data in named:
        try:
            with Image.open(io.BytesIO(data), formats=["PNG"]) as opened:
                if opened.width * opened.height > LARGEST:
                    raise ValueError(f"{opened.width}x{opened.height} pixels are too many")
                pictures.append((name, opened.convert("RGB")))
        except (OSError, ValueError) as error:
            raise BadRequest(f"The sheet of {name} cannot be read: {error}.", "Train the model again.") from error
    widths = [max(one.width, 8 * len(name)) for name, one in pictures]
    height = max(one.height for _, one in pictures) + TITLE + 2 * GAP
    row = Image.new("RGB", (sum(widths) + GAP * (len(widths) + 1), height), GROUND)
    pen, left = ImageDraw.Draw(row), GAP
    for (name, one), wide in zip(pictures, widths, strict=True):
        pen.text((left, GAP), name, fill=INK)
        row.paste(one, (left, GAP + TITLE))
        left += wide + GAP
    out = io.BytesIO()
    row.save(out, format="PNG")
    return out.getvalue()


def write(path: Path, data: bytes) -> None:
    """Write the picture; raises BadRequest where that is not possible."""
    try:
        path.write_bytes(data)
    except OSError as error:
        raise BadRequest(f"{path} cannot be written: {error.strerror}.", "Give a file in a folder of yours.") from error
