"""Arrays of pictures in one file: IDX (as MNIST comes), plain or gzipped, and NumPy's npz; read in pieces."""

from __future__ import annotations

import gzip
import math
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from PIL import Image

from genplatform.errors import BadRequest
from genworkers.data.bounds import BadItem, Skipped
from genworkers.data.files import BROKEN, HIGHEST_RATIO, MOST_FILE_BYTES, SMALL, Files
from genworkers.data.kept import Gathering, KeptPictures

PIECE = 4 << 20
MOST_LABELS = 1 << 26

_IDX = re.compile(r"(?:^|[-._/])idx([13])[-._]ubyte(?:\.gz)?$")
_IDX_BYTES = 8  # the code of unsigned bytes
PICTURES = ("x", "images", "pictures", "image", "data", "arr_0")
LABELS = ("label", "labels", "y", "arr_1")


def is_idx(name: str) -> bool:
    """Tell whether a file's name says that it is IDX of bytes: pictures or labels."""
    return bool(_IDX.search(name))


def is_npz(name: str) -> bool:
    """Tell whether a file's name says that it is an npz."""
    return name.endswith(".npz")


def read_idx(files: Files, options: Mapping[str, Any]) -> KeptPictures:
    """Read every IDX file of pictures, in the order of their names, with the labels beside each."""
    pictures = [name for name in files.names if (found := _IDX.search(name)) and found[1] == "3"]
    if not pictures:
        raise BadRequest(f"There is no IDX file of pictures in {files.title}.", "Its name ends with -idx3-ubyte(.gz).")
    beside = {name: _labels_of(name, files) for name in pictures}
    if any(beside.values()) and not all(beside.values()):
        missing = next(name for name, labels in beside.items() if labels is None)
        raise BadRequest(f"There are no labels beside {missing} in {files.title}.", "Add them, or name one file alone.")
    gathering = Gathering(files.title, options, Skipped(files.title, options.get("skip", 0), 0))
    for name, labels in beside.items():
        count = _idx_pictures(files, name, gathering)
        gathering.skipped.total += count
        if labels is not None:
            gathering.labels(_idx_labels(files, labels, count))
    return gathering.made()


def _labels_of(name: str, files: Files) -> str | None:
    bare = name.removesuffix(".gz").replace("idx3", "idx1")
    choices = [bare, bare.replace("images", "labels")]
    return next((c for one in choices for c in (one, f"{one}.gz") if c in files.names and c != name), None)


def _idx_pictures(files: Files, name: str, gathering: Gathering) -> int:
    with _idx(files, name) as file, _whole(name):
        count, height, width = _idx_head(file, name, 3)
        shape = (height, width, 1)
        gathering.expect(shape, np.dtype(np.uint8), count)
        rows = max(1, PIECE // max(1, height * width))
        for start in range(0, count, rows):
            some = min(rows, count - start)
            data = _exactly(file, some * height * width)
            try:
                gathering.add_many(np.frombuffer(data, np.uint8).reshape(some, *shape))
            except BadItem as error:
                raise BadRequest(f"{name} does not go with the files before it: {error}.") from None
        _nothing_more(file)
    return count


def _idx_labels(files: Files, name: str, count: int) -> Sequence[int]:
    with _idx(files, name) as file, _whole(name):
        (found,) = _idx_head(file, name, 1)
        if found != count:
            raise BadRequest(
                f"{name} has {found:,} labels for {count:,} pictures.", "Bring the files that belong together."
            )
        data = _exactly(file, count)
        _nothing_more(file)
    return data


def _idx(files: Files, name: str) -> IO[bytes]:
    try:
        file = files.open(name)
    except BadItem as error:
        raise BadRequest(f"{name} {error}.") from None
    return gzip.open(file) if name.endswith(".gz") else file  # type: ignore[return-value]


def _idx_head(file: IO[bytes], name: str, dimensions: int) -> tuple[int, ...]:
    zeros, code, found = struct.unpack(">HBB", _exactly(file, 4))
    if (zeros, code, found) != (0, _IDX_BYTES, dimensions):
        raise BadRequest(f"{name} is no IDX file of {dimensions}-dimensional bytes.", "Check that it is whole.")
    sizes = struct.unpack(f">{dimensions}I", _exactly(file, 4 * dimensions))
    if 0 in sizes[1:] or math.prod(sizes[1:]) > _most_pixels() or sizes[0] > MOST_LABELS:
        raise BadRequest(f"{name} says that it holds {sizes}, which cannot be.", "Check that it is whole.")
    return sizes


def read_npz(files: Files, options: Mapping[str, Any]) -> KeptPictures:
    """Read an npz: its pictures (N, height, width) or (N, height, width, 1 or 3), and their labels. Never pickles."""
    [name] = files.names
    with _whole(name), files.open(name) as file, zipfile.ZipFile(file) as archive:
        members = {one.filename.removesuffix(".npy"): one for one in archive.infolist()}
        key = _chosen(members, options.get("column"), PICTURES, name)
        if key is None:
            raise BadRequest(
                f"{name} has no array that is known to hold pictures.", f"Say data.column: {_some(members)}."
            )
        label = _chosen(members, options.get("label"), LABELS, name)
        gathering = Gathering(files.title, options, Skipped(files.title, options.get("skip", 0), 0))
        with archive.open(_bounded(members[key])) as member:
            _npz_pictures(member, name, key, gathering)
        if label is not None:
            with archive.open(_bounded(members[label])) as member:
                gathering.labels(_npz_labels(member, name, label))
    return gathering.made()


def _npz_pictures(member: IO[bytes], name: str, key: str, gathering: Gathering) -> None:
    shape, dtype = _npy_head(member, f"{key} of {name}")
    if len(shape) == 3:
        shape = (*shape, 1)
    if len(shape) != 4 or shape[3] not in (1, 3) or dtype.kind not in "uif" or 0 in shape:
        raise BadRequest(
            f"{key} of {name} is {dtype} of {shape}, and not pictures.",
            "Pictures are numbers of (N, height, width) or (N, height, width, 1 or 3).",
        )
    if math.prod(shape[1:3]) > _most_pixels():
        raise BadRequest(
            f"{key} of {name} holds pictures of more than {_most_pixels():,} pixels.", "Bring smaller ones."
        )
    kept = np.dtype(np.uint8) if dtype == np.uint8 else np.dtype("<f4")
    gathering.expect(shape[1:], kept, shape[0])
    gathering.skipped.total = shape[0]
    size = int(np.prod(shape[1:])) * dtype.itemsize
    rows = max(1, PIECE // size)
    for start in range(0, shape[0], rows):
        some = min(rows, shape[0] - start)
        block = np.frombuffer(_exactly(member, some * size), dtype).reshape(some, *shape[1:]).astype(kept, copy=False)
        if not np.isfinite(block).all():
            raise BadRequest(f"{key} of {name} holds values that are no numbers.", "Mend or remove those pictures.")
        gathering.add_many(block)


def _npz_labels(member: IO[bytes], name: str, key: str) -> Sequence[int | str]:
    shape, dtype = _npy_head(member, f"{key} of {name}")
    if len(shape) != 1 or dtype.kind not in "uiU":
        raise BadRequest(
            f"{key} of {name} is {dtype} of {shape}, and not labels.", "Say data.label, or leave it out of the file."
        )
    if shape[0] > MOST_LABELS or shape[0] * dtype.itemsize > MOST_FILE_BYTES:
        raise BadRequest(f"{key} of {name} holds {shape[0]:,} labels, which are too many.", "Bring less.")
    found = np.frombuffer(_exactly(member, shape[0] * dtype.itemsize), dtype)
    return [str(one) for one in found] if dtype.kind == "U" else [int(one) for one in found]


def _npy_head(member: IO[bytes], what: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = npy.read_magic(member)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(member)
    if dtype.hasobject:
        raise BadRequest(f"{what} holds Python objects, which are never read.", "Save it as numbers or fixed text.")
    if fortran and len(shape) > 1:
        raise BadRequest(f"{what} is stored column by column.", "Save it with np.ascontiguousarray.")
    return shape, dtype


def _most_pixels() -> int:
    # Pillow's own limit, which holds for whatever is decoded by it.
    return Image.MAX_IMAGE_PIXELS or MOST_FILE_BYTES


def _bounded(member: zipfile.ZipInfo) -> zipfile.ZipInfo:
    if member.file_size > SMALL and member.file_size > HIGHEST_RATIO * max(1, member.compress_size):
        raise BadRequest(
            f"{member.filename} would unpack to {member.file_size:,} bytes.", "Save it uncompressed if it is real."
        )
    return member


def _chosen(members: Mapping[str, Any], asked: str | None, known: Sequence[str], name: str) -> str | None:
    if asked is not None:
        if asked not in members:
            raise BadRequest(f"{name} has no array {asked!r}.", f"It has: {_some(members)}.")
        return asked
    return next((one for one in known if one in members), None)


def _some(members: Mapping[str, Any]) -> str:
    return ", ".join(sorted(members)[:20])


def _exactly(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise EOFError(f"it ends {size - len(data):,} bytes too early")
    return data


def _nothing_more(file: IO[bytes]) -> None:
    if file.read(1):
        raise ValueError("it is longer than it says")


@contextmanager
def _whole(name: str) -> Iterator[None]:
    """Turn what a broken file raises into the user's error."""
    try:
        yield
    except BadItem as error:
        raise BadRequest(f"{name} {error}.") from None
    except BROKEN as error:
        raise BadRequest(f"{name} cannot be read: {error}.", "Check that it is whole.") from error
