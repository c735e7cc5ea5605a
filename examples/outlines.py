"""Make pairs for pix2pix: of each picture its outline, black on white, in OUT/A, and the picture itself in OUT/B.

    python examples/outlines.py emoji.zip pairs --size 32
    genctl submit examples/outlines.yaml

PICTURES is a folder or a zip; what is transparent shows white.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageChops, ImageFilter, ImageOps

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}
EDGE = 24  # of 255: how much brightness or colour must change to be an edge


def pictures(place: Path) -> Iterator[tuple[str, bytes]]:
    """Yield each picture's name, with its folders in it, and its bytes."""
    if place.suffix == ".zip":
        with zipfile.ZipFile(place) as archive:
            for name in sorted(archive.namelist()):
                if Path(name).suffix.lower() in SUFFIXES:
                    yield name, archive.read(name)
    else:
        for path in sorted(place.rglob("*")):
            if path.suffix.lower() in SUFFIXES:
                yield path.relative_to(place).as_posix(), path.read_bytes()


def on_white(data: bytes, side: int | None) -> Image.Image:
    """Return the picture in colour on white, as a square of that side if one is given."""
    with Image.open(io.BytesIO(data)) as image:
        seen = image.convert("RGBA")
    ground = Image.new("RGBA", seen.size, "white")
    picture = Image.alpha_composite(ground, seen).convert("RGB")
    return picture if side is None else ImageOps.pad(picture, (side, side), Image.Resampling.LANCZOS, color="white")


def outline(picture: Image.Image) -> Image.Image:
    """Return the picture's edges, black on white: where any of its colours changes much within a pixel."""
    channels = [channel.filter(ImageFilter.GaussianBlur(0.5)) for channel in picture.split()]
    changes = [
        ImageChops.subtract(channel.filter(ImageFilter.MaxFilter(3)), channel.filter(ImageFilter.MinFilter(3)))
        for channel in channels
    ]
    strongest = ImageChops.lighter(ImageChops.lighter(changes[0], changes[1]), changes[2])
    # Thinned: an edge two pixels wide is one where it is strongest.
    ridge = ImageChops.subtract(strongest, strongest.filter(ImageFilter.BoxBlur(1)))
    return ridge.point(lambda level: 0 if level > EDGE // 4 else 255)


def main() -> None:
    """Read the command line and write the pairs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pictures", type=Path, metavar="PICTURES", help="A folder or a zip of pictures.")
    parser.add_argument("out", type=Path, metavar="OUT", help="The folder that A/ and B/ are made in.")
    parser.add_argument("--size", type=int, help="The side that pictures are brought to; left out: as they are.")
    given = parser.parse_args()
    count = 0
    for name, data in pictures(given.pictures):
        picture = on_white(data, given.size)
        for side, made in (("A", outline(picture)), ("B", picture)):
            path = given.out / side / Path(name).with_suffix(".png")
            path.parent.mkdir(parents=True, exist_ok=True)
            made.save(path)
        count += 1
    print(f"{count:,} pairs in {given.out}")


if __name__ == "__main__":
    main()
