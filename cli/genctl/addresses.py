"""Where things are found below a platform's origin."""

from __future__ import annotations

from urllib.parse import quote

from genctl.transport import segment
from genplatform.errors import BadRequest

API = "/api/v1"


def of_job(ref: str, rest: str = "") -> str:
    """Return the address of a job, or of something of it."""
    return f"{API}/jobs/{segment(ref, 'job')}" + (f"/{rest}" if rest else "")


def of_submission(key: str, rest: str = "") -> str:
    """Return the address of what was submitted under a key, or of something of it."""
    # A key may hold a slash; only what a path would lose cannot be asked for.
    if not key.strip("/.") or key != key.strip("/"):
        raise BadRequest(f"{key!r} names no submission.", "Give the Idempotency-Key of a submit.")
    return f"{API}/submissions/{quote(key, safe='')}" + (f"/{rest}" if rest else "")
