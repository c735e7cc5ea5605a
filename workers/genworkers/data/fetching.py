"""Uploads on their way to the node: fetched from the store, held to their digest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from genplatform.domain import layout
from genplatform.errors import BadRequest, NotFound
from genplatform.store import Store

# Given the digest of an upload and where to write it.
Fetch = Callable[[str, Path], None]


def uploads_of(store_url: str, tenant: str) -> Fetch:
    """Return how to fetch a tenant's uploads from that store."""

    def fetch(digest: str, to: Path) -> None:
        try:
            stored = Store(store_url).fetch(layout.upload(tenant, digest), to)
        except NotFound:
            raise BadRequest(
                f"The upload {digest} is not in the store.", "Submit the job file again with `genctl submit`."
            ) from None
        if stored.sha256 != digest:
            raise BadRequest(f"The upload {digest} is damaged in the store.", "Remove it there, and submit again.")

    return fetch


def no_uploads(digest: str, to: Path) -> None:
    """Refuse: no store is known here."""
    raise BadRequest(f"The upload {digest} is read by nodes alone.", "Name the folder or file that it came from.")
