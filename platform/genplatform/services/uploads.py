"""Uploads: bytes that clients send ahead of the jobs that name them, kept once under their digest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from genplatform.domain import layout
from genplatform.errors import NotFound
from genplatform.services.context import Wiring


def find(w: Wiring, tenant: str, digest: str) -> dict[str, Any]:
    """Return the upload of that digest; raises NotFound when nobody has sent it."""
    if not w.store.exists(layout.upload(tenant, digest)):
        raise NotFound(f"There is no upload {digest}.", "Send it with PUT.")
    return {"digest": digest}


def keep(w: Wiring, tenant: str, digest: str, file: Path) -> dict[str, Any]:
    """Keep a file whose digest has been checked; one that is there already has the same bytes."""
    key = layout.upload(tenant, digest)
    if not w.store.exists(key):
        w.store.put_file(file, key)
    return {"digest": digest}
