"""genctl: the command line and the Python client.

`from genctl import Client` loads the client on first use, so that `import genctl` weighs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genctl.client import Client

__all__ = ["Client"]


def __getattr__(name: str) -> Any:
    if name == "Client":
        from genctl.client import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
