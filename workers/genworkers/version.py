"""The version of the code that made something: the package's number and a digest of its sources."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from genworkers import __version__


@cache
def code_version() -> str:
    """Return for example `0.1.0+3f9c21aa7b04`: the same wherever the same sources run."""
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(path.read_bytes() + b"\0")
    return f"{__version__}+{digest.hexdigest()[:12]}"
