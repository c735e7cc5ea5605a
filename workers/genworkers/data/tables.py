"""Tables of comma- or tab-separated values: of the paths of pictures or sounds that lie beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genplatform.errors import BadRequest
from genworkers.data.audio import is_audio, read_audio
from genworkers.data.dataset import Dataset
from genworkers.data.files import Files
from genworkers.data.images import is_image, read_images
from genworkers.data.listing import table_of


def read_csv(files: Files, options: Mapping[str, Any]) -> Dataset:
    """Read the items that a source's one table names."""
    table = table_of(files)
    if any(map(is_image, files.names)):
        return read_images(files, options, table)
    if any(map(is_audio, files.names)):
        return read_audio(files, options, table)
    raise BadRequest(
        f"Beside {table} of {files.title} there is neither picture nor sound.",
        "Name the folder that holds the table and the files that it names.",
    )
