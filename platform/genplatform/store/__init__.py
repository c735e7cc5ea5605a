"""Artifact bytes: the only home of fsspec. Atomic writes, digests computed on the way, checked keys."""

from __future__ import annotations

from genplatform.store.digests import Stored
from genplatform.store.remote import fetch_url
from genplatform.store.store import Store

__all__ = ["Store", "Stored", "fetch_url"]
