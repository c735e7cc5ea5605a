"""Parquet files of encoded images, as the hubs keep them: one column of bytes, one of labels. Needs pyarrow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from genplatform.errors import BadRequest
from genworkers.data.bounds import BadItem, Skipped
from genworkers.data.files import BROKEN, MOST_FILE_BYTES, Files
from genworkers.data.images import Decoder
from genworkers.data.kept import Gathering, KeptPictures

COLUMNS = ("image", "img", "x", "picture", "bytes")
LABELS = ("label", "labels", "class", "fine_label", "y")
ROWS = 16


def is_parquet(name: str) -> bool:
    """Tell whether a file's name says that it is a Parquet file."""
    return name.endswith(".parquet")


def read_parquet(files: Files, options: Mapping[str, Any]) -> KeptPictures:
    """Read the pictures of all Parquet files, in the order of their names."""
    names = [name for name in files.names if is_parquet(name)]
    # Of all files first: a share that may be left out is one of all.
    skipped = Skipped(files.title, options.get("skip", 0), sum(_rows_of(files, name) for name in names))
    gathering, decoder = Gathering(files.title, options, skipped), Decoder(options)
    for name in names:
        with _table(files, name) as table:
            column = _chosen(table.schema_arrow.names, options.get("column"), COLUMNS, name)
            label = _chosen(table.schema_arrow.names, options.get("label"), LABELS, name)
            if column is None:
                some = ", ".join(table.schema_arrow.names[:20])
                raise BadRequest(f"{name} has no column that is known to hold images.", f"Say data.column: {some}.")
            at = 0
            for batch in table.iter_batches(ROWS, columns=[one for one in (column, label) if one]):
                for row in batch.to_pylist():
                    _add(row, column, label, f"{name}#{at}", gathering, decoder)
                    at += 1
    return gathering.made()


def _rows_of(files: Files, name: str) -> int:
    with _table(files, name) as table:
        return int(table.metadata.num_rows)


@contextmanager
def _table(files: Files, name: str) -> Iterator[Any]:
    """Open one file; what a broken one raises becomes the user's error."""
    try:
        from pyarrow import ArrowException
        from pyarrow import parquet as pq
    except ImportError:
        raise BadRequest(
            "Parquet files are read with pyarrow, which is not installed.", "Install genctl[parquet] on the nodes."
        ) from None
    try:
        with files.open(name) as file:
            yield pq.ParquetFile(file)
    except BadItem as error:
        raise BadRequest(f"{name} {error}.") from None
    except (ArrowException, *BROKEN) as error:
        raise BadRequest(f"{name} cannot be read: {error}.", "Check that it is whole.") from error


def _add(
    row: Mapping[str, Any], column: str, label: str | None, where: str, gathering: Gathering, decoder: Decoder
) -> None:
    try:
        value = row[column]
        data = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(data, bytes):
            raise BadItem("holds no bytes of an image")
        if len(data) > MOST_FILE_BYTES:
            raise BadItem(f"has more than {MOST_FILE_BYTES:,} bytes")
        gathering.add(decoder.decode(data), _label(row, label))
    except BadItem as error:
        gathering.skipped.add(where, str(error))


def _label(row: Mapping[str, Any], label: str | None) -> int | str | None:
    if label is None:
        return None
    value = row[label]
    if isinstance(value, int | str) and not isinstance(value, bool):
        return value
    raise BadItem(f"has no label in {label}")


def _chosen(names: list[str], asked: str | None, known: tuple[str, ...], file: str) -> str | None:
    if asked is not None:
        if asked not in names:
            raise BadRequest(f"{file} has no column {asked!r}.", f"It has: {', '.join(names[:20])}.")
        return asked
    return next((name for name in known if name in names), None)
