"""Tables of comma- or tab-separated values: of texts, or of the paths of pictures or sounds that lie beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genplatform.errors import BadRequest
from genworkers.data.audio import is_audio, read_audio
from genworkers.data.bounds import BadItem
from genworkers.data.dataset import Dataset
from genworkers.data.files import Files
from genworkers.data.images import is_image, read_images
from genworkers.data.listing import chosen_column, head_of, table_of, values_of
from genworkers.data.text import FIELDS, Collecting, Documents


def read_csv(files: Files, options: Mapping[str, Any]) -> Dataset:
    """Read the items that a source's one table names."""
    table = table_of(files)
    if any(map(is_image, files.names)):
        return read_images(files, options, table)
    if any(map(is_audio, files.names)):
        return read_audio(files, options, table)
    return _texts(files, options, table)


def _texts(files: Files, options: Mapping[str, Any], table: str) -> Documents:
    """Read a table whose column holds the texts themselves: each row is a document."""
    column = chosen_column(head_of(files, table), options.get("column"), FIELDS, f"{table} of {files.title}")
    if column is None:
        raise BadRequest(
            f"{table} of {files.title} has no column `text`, and beside it there is neither picture nor sound.",
            "Say data.column, or name the folder that holds the table and the files that it names.",
        )
    collecting = Collecting(files.title, options.get("skip", 0))
    collecting.begin(table)
    for number, row in enumerate(values_of(files, table), 1):
        try:
            collecting.add(row[column])
        except BadItem as error:
            collecting.skipped.add(f"{table}, row {number}", str(error))
    return collecting.made()
