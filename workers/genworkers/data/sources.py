"""The data sources that a job may name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from genplatform.errors import BadRequest
from genworkers.data import digits
from genworkers.data.dataset import Dataset

SOURCES: dict[str, Callable[[], Dataset]] = {"digits": digits.load}


def open_source(data: Mapping[str, Any]) -> Dataset:
    """Return the data that a spec's `data:` names; raises BadRequest that says what there is."""
    name = data.get("source")
    if not isinstance(name, str) or name not in SOURCES:
        raise BadRequest(f"There is no data source {name!r}.", f"Sources that exist: {', '.join(sorted(SOURCES))}.")
    extra = sorted(set(data) - {"source"})
    if extra:
        raise BadRequest(f"The source {name!r} takes no option {extra[0]!r}.", "Leave it out of `data:`.")
    return SOURCES[name]()
