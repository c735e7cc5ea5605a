"""Load worker classes by name: the platform imports no worker code of its own accord."""

from __future__ import annotations

import importlib
from typing import Any


class LoadError(Exception):
    """`module:attribute` names nothing that can be imported here. The message says why."""


def load(reference: str) -> Any:
    """Return what `module:attribute` names; raises LoadError."""
    module, colon, attribute = reference.partition(":")
    if not (module and colon and attribute):
        raise LoadError(f"{reference!r} is not of the form module:attribute.")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:  # importing runs the module, which may fail in any way
        raise LoadError(f"{reference} cannot be loaded: {type(error).__name__}: {error}") from error
