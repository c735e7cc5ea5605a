"""Which endpoint answers for a model's name: the catalog's word, behind a seam that tests replace."""

from __future__ import annotations

from typing import Protocol

from genplatform.services import endpoints
from genplatform.services.context import Wiring
from genplatform.services.endpoints import Route


class Routing(Protocol):
    """Finds endpoints. It may block, and is called in threads."""

    def find(self, tenant: str, model: str) -> Route:
        """Return where `model` (an endpoint's name, or a served NAME@V) is served; raises `NotFound`."""


class CatalogRouting:
    """Asks the catalog for each request, so that a deleted endpoint is gone at once."""

    def __init__(self, w: Wiring) -> None:
        self._wiring = w

    def find(self, tenant: str, model: str) -> Route:
        """Return where `model` is served."""
        return endpoints.route(self._wiring, tenant, model)
