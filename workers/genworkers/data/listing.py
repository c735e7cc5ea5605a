"""Which items a source of files has, and what is said of each: by the folders they lie in, or by a table with them."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from genplatform.errors import BadRequest
from genworkers.data.bounds import BadItem, Skipped
from genworkers.data.files import Files
from genworkers.data.kept import FOLDER, Gathering
from genworkers.data.rows import Array

CAPTIONS = "captions.tsv"
TABLES = (".csv", ".tsv")
FILE_COLUMNS = ("file", "file_name", "filename", "path")
MOST_FIELD_BYTES = 64 << 20  # a text may be one field
LABEL_COLUMNS = ("label", "labels", "class", "y")


class Item(NamedTuple):
    """A file by its name, its class, and what else is known of it."""

    name: str
    label: str | None
    columns: Mapping[str, str]


# Given the bytes of a file, returns the item in it; raises BadItem.
Decode = Callable[[bytes], Array]


def read_each(
    files: Files,
    options: Mapping[str, Any],
    is_one: Callable[[str], bool],
    decode: Decode,
    table: str | None = None,
    what: str = "picture",
) -> Gathering:
    """Read every file that is such an item, those that the table names if there is one, into one gathering."""
    names = [name for name in files.names if is_one(name)]
    table = table or (CAPTIONS if CAPTIONS in files.names else None)
    items = _by_folder(names) if table is None else list(_rows(files, table, options))
    refused = [one for one in files.refused if is_one(one.name) or one.is_folder or table == CAPTIONS]
    skipped = Skipped(files.title, options.get("skip", 0), len(items) + len(refused))
    for one in refused:
        skipped.add(one.name, one.why)
    gathering = Gathering(files.title, options, skipped, what)
    known = _by_bare_name(names) | {name: name for name in names}
    for item in items:
        try:
            if item.name not in known:
                raise BadItem(f"is named in {table}, and is not there")
            gathering.add(decode(files.read(known[item.name])), item.label, item.columns)
        except BadItem as error:
            skipped.add(item.name, str(error))
    return gathering


def table_of(files: Files) -> str:
    """Return the one table of a source; raises BadRequest where there is none, or which of several is not known."""
    found = [name for name in files.names if is_table(name)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise BadRequest(f"There is no table in {files.title}.", "Its name ends with .csv or .tsv.")
    raise BadRequest(
        f"{files.title} has {len(found):,} tables: {', '.join(found[:5])}.", "Leave one there, or name it itself."
    )


def is_table(name: str) -> bool:
    """Tell whether a file's name says that it is a table of comma- or tab-separated values."""
    return name.lower().endswith(TABLES)


def head_of(files: Files, table: str) -> list[str]:
    """Return the columns that a table's first line names."""
    return next(_lines(files, table), [])


def values_of(files: Files, table: str) -> Iterator[dict[str, str]]:
    """Return the rows of a table, each by the names of its columns."""
    lines = _lines(files, table)
    head = next(lines, [])
    for line in lines:
        if line:
            yield dict(zip(head, line, strict=False)) | dict.fromkeys(head[len(line) :], "")


def chosen_column(head: list[str], asked: str | None, known: tuple[str, ...], table: str) -> str | None:
    """Return the column that is asked for, else one of a known name, else None; raises BadRequest."""
    if asked is not None and asked not in head:
        raise BadRequest(f"{table} has no column {asked!r}.", f"It has: {', '.join(head[:20])}.")
    return asked if asked is not None else next((name for name in known if name in head), None)


def _rows(files: Files, table: str, options: Mapping[str, Any]) -> Iterator[Item]:
    """Read which files there are, with what is said of each, from the table beside them."""
    head, captions, title = head_of(files, table), table == CAPTIONS, f"{table} of {files.title}"
    file_column = chosen_column(head, None if captions else options.get("column"), FILE_COLUMNS, title)
    if file_column is None:
        raise BadRequest(
            f"{title} has no column `file` in its first line.",
            f"Its first line names its columns, with {'a tab' if table.endswith('.tsv') else 'a comma'} between them; "
            "`file` is each item's path.",
        )
    # A captions.tsv has a class only where it is asked for: another table has one by its usual names too.
    label = chosen_column(head, options.get("label"), () if captions else LABEL_COLUMNS, title)
    beside = str(PurePosixPath(table).parent)
    for row in values_of(files, table):
        name = row.pop(file_column)
        if name:
            columns = {FOLDER: str(PurePosixPath(name).parent)} | row
            where = name if beside == "." or captions else f"{beside}/{name}"
            yield Item(where, row.get(label, name) if label is not None else None, columns)


def _lines(files: Files, table: str) -> Iterator[list[str]]:
    try:
        text = files.read(table).decode("utf-8-sig")
    except (BadItem, UnicodeDecodeError) as error:
        raise BadRequest(f"{table} of {files.title} cannot be read: {error}.", "Save it as UTF-8.") from None
    # Of all that is a line's end to Unicode, a caption may hold what is none to an editor.
    if table.lower().endswith(".tsv"):
        return (line.rstrip("\n").split("\t") for line in io.StringIO(text, newline=None))
    csv.field_size_limit(MOST_FIELD_BYTES)
    return _parsed(csv.reader(io.StringIO(text, newline=""), strict=True), f"{table} of {files.title}")


def _parsed(lines: Iterator[list[str]], title: str) -> Iterator[list[str]]:
    try:
        yield from lines
    except csv.Error as error:
        raise BadRequest(f"{title} cannot be read: {error}.", "Save it again as comma-separated values.") from None


def _by_bare_name(names: list[str]) -> dict[str, str]:
    """Return the files whose name, without its folder, no other has: a table may name them by it."""
    bare = [PurePosixPath(name).name for name in names]
    count = Counter(bare)
    return {short: name for short, name in zip(bare, names, strict=True) if count[short] == 1}


def _by_folder(names: list[str]) -> list[Item]:
    """Take the first folder as the class, where every file lies in one."""
    classes = all("/" in name for name in names)
    return [
        Item(name, name.split("/", 1)[0] if classes else None, {FOLDER: str(PurePosixPath(name).parent)})
        for name in names
    ]
