"""Python's documentation of its own language, as `help()` shows it: a text a topic, on board with Python."""

from __future__ import annotations

from importlib import import_module

from genworkers.data.text import Collecting, Documents


def load() -> Documents:
    """Return the topics as documents, in the order of their names; they are those of this Python's version."""
    topics: dict[str, str] = import_module("pydoc_data.topics").topics
    collecting = Collecting("topics", 0)
    for name in sorted(topics):
        collecting.begin(name)
        collecting.add(topics[name])
    return collecting.made()
