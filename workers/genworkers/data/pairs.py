"""Pairs of pictures: two folders with pictures of the same names, or single pictures that hold both side by side.

The first is how most paired data lies, the second how pix2pix's own sets do (Isola et al., 2017). Both
pictures of a pair are brought to one size alike, so that what lies at one place of the one lies there in the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from genplatform.errors import BadRequest
from genworkers.data.bounds import BadItem, Skipped
from genworkers.data.dataset import BY_CONTENT, Dataset
from genworkers.data.files import Files, Refused
from genworkers.data.images import Decoder, is_image, opened
from genworkers.data.kept import FOLDER, Gathering, KeptPictures
from genworkers.data.rows import Array
from genworkers.recipes.base import ItemShape

SIDES = ("left", "right")
FOLDERS = ("A", "B")


class KeptPairs(Dataset):
    """Pairs on disk: the picture to be made as "x", the one that it is made of as "source"."""

    labels = None

    def __init__(self, kept: KeptPictures, source_channels: int) -> None:
        self._kept, self._between = kept, source_channels
        self.name, self.skipped, self.notes = kept.name, kept.skipped, kept.notes
        self.digest = hashlib.sha256(f"{kept.digest} pairs {source_channels}\n".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def shape(self) -> ItemShape:
        """The size of a picture to be made."""
        both = self._kept.shape
        return both._replace(channels=both.channels - self._between)

    @property
    def source_shape(self) -> ItemShape:
        """The size of a picture that one is made of."""
        return self._kept.shape._replace(channels=self._between)

    def rows(self, indices: Tensor) -> dict[str, Tensor]:
        """Return those pairs as a batch."""
        both = self._kept.rows(indices)["x"]
        return {"x": both[:, self._between :].contiguous(), "source": both[:, : self._between].contiguous()}

    def groups(self, by: str) -> Sequence[str] | Array:
        """Return each pair's folder, or what `contents` says."""
        return self.contents() if by == BY_CONTENT else self._kept.groups(by)

    def contents(self) -> Array:
        """Return a number a pair, which pairs share that have either picture in common, or are linked by such."""
        return _linked(self._kept.contents(slice(self._between)), self._kept.contents(slice(self._between, None)))


class _Pair(NamedTuple):
    """A pair by its name. Without a target, the file `source` holds both; `why` says what is wrong with it."""

    name: str
    source: str = ""
    target: str | None = None
    why: str = ""


def read_pairs(files: Files, options: Mapping[str, Any]) -> KeptPairs:
    """Read all pairs; those that lack a picture, or whose pictures do not go together, are bad items."""
    for option in ("column", "label", "range"):
        if options.get(option) is not None:
            raise BadRequest(f"Pairs of pictures take no data.{option}.", "Leave it out.")
    source, target, in_folders = _sides(files, options.get("pairs"))
    pairs = list(_in_folders(files, source, target) if in_folders else _in_halves(files))
    skipped = Skipped(files.title, options.get("skip", 0), len(pairs))
    gathering, reader = Gathering(files.title, options, skipped), _Reader(files, options, source == SIDES[0])
    for pair in pairs:
        try:
            if pair.why:
                raise BadItem(pair.why)
            gathering.add(reader.both(pair), None, {FOLDER: str(PurePosixPath(pair.name).parent)})
        except BadItem as error:
            skipped.add(pair.name, str(error))
    return KeptPairs(gathering.made(), reader.source_channels)


def _sides(files: Files, asked: Mapping[str, str] | None) -> tuple[str, str, bool]:
    """Return where sources and targets are, and whether these are two folders, and not two halves of each picture."""
    names = [*files.names, *(one.name for one in files.refused)]
    tops = {name.split("/", 1)[0] for name in names if "/" in name}
    if asked is None:
        return (*FOLDERS, True) if tops.issuperset(FOLDERS) else (*SIDES, False)
    source, target = asked["source"].strip("/"), asked["target"].strip("/")
    missing = [side for side in (source, target) if not any(name.startswith(f"{side}/") for name in names)]
    if not missing or {source, target} == set(SIDES):
        return source, target, not missing
    raise BadRequest(
        f"There is no folder {missing[0]!r} in {files.title}, for data.pairs.",
        f"Its folders: {', '.join(sorted(tops)[:20]) or 'none'}. Of pictures side by side: left and right.",
    )


def _in_halves(files: Files) -> Iterator[_Pair]:
    for name in files.names:
        if is_image(name):
            yield _Pair(name, name)
    for one in files.refused:
        if is_image(one.name) or one.is_folder:
            yield _Pair(one.name, why=one.why)


def _in_folders(files: Files, source: str, target: str) -> Iterator[_Pair]:
    """Match pictures by their names below the two folders, without their endings."""
    given = {side: _below(files, side) for side in (source, target)}
    for key in sorted(set(given[source]) | set(given[target])):
        found = {side: given[side].get(key, []) for side in given}
        lacking = next((side for side in found if not found[side]), None)
        refused = next((one for side in found for one in found[side] if isinstance(one, Refused)), None)
        doubled = next((side for side in found if len(found[side]) > 1), None)
        if refused is not None:
            yield _Pair(refused.name, why=refused.why)
        elif lacking is not None:
            [other] = [side for side in found if side != lacking]
            yield _Pair(str(found[other][0]), why=f"has no picture of its name in {lacking}")
        elif doubled is not None:
            yield _Pair(str(found[doubled][1]), why="has the name of another picture beside it")
        else:
            yield _Pair(key, str(found[source][0]), str(found[target][0]))


def _below(files: Files, folder: str) -> dict[str, list[str | Refused]]:
    """Return what lies below a folder, by its name there without its ending."""
    found: dict[str, list[str | Refused]] = {}
    pictures: list[tuple[str, str | Refused]] = [(name, name) for name in files.names if is_image(name)]
    pictures += [(one.name, one) for one in files.refused if is_image(one.name) or one.is_folder]
    for name, one in pictures:
        if name.startswith(f"{folder}/"):
            key = str(PurePosixPath(name.removeprefix(f"{folder}/")).with_suffix(""))
            found.setdefault(key, []).append(one)
    return found


class _Reader:
    """Reads the two pictures of a pair as one array, the source's channels first."""

    def __init__(self, files: Files, options: Mapping[str, Any], from_left: bool) -> None:
        self._files, self._from_left = files, from_left
        self._source, self._target = Decoder(options), Decoder(options)
        self._sized = options.get("size") is not None
        self._stretched = options.get("fit") == "stretch"
        self.source_channels = 0

    def both(self, pair: _Pair) -> Array:
        """Return height x width x channels of both; raises BadItem for what is no pair."""
        with opened(self._files.read(pair.source)) as first:
            if pair.target is None:
                return self._joined(*self._halves(first))
            with opened(self._files.read(pair.target)) as second:
                return self._joined(first, second)

    def _halves(self, image: Image.Image) -> tuple[Image.Image, Image.Image]:
        width, height = image.size
        if width % 2:
            raise BadItem(f"is {width}x{height}, and so not two pictures of one width side by side")
        left, right = image.crop((0, 0, width // 2, height)), image.crop((width // 2, 0, width, height))
        return (left, right) if self._from_left else (right, left)

    def _joined(self, source: Image.Image, target: Image.Image) -> Array:
        if source.size != target.size and not (self._sized and (self._stretched or _alike(source.size, target.size))):
            (wide, high), (width, height) = source.size, target.size
            raise BadItem(f"is a picture of {wide}x{high} with one of {width}x{height}")
        arrays = self._source.array(source), self._target.array(target)
        self.source_channels = arrays[0].shape[2]
        return np.concatenate(arrays, 2)


def _alike(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Tell whether two sizes have one shape, up to a pixel."""
    return abs(one[0] * other[1] - other[0] * one[1]) <= max(*one, *other)


def _linked(*keys: Array) -> Array:
    """Return a number an item: the same for items that a key of any kind links, directly or over others."""
    parent = list(range(len(keys[0])))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for key in keys:
        _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
        for item, one in enumerate(first[inverse].tolist()):
            low, high = sorted((root(item), root(one)))
            parent[high] = low
    return np.array([root(item) for item in range(len(parent))], dtype=np.uint64)
