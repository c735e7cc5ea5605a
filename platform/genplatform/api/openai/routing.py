"""Which endpoint answers for a model's name: the catalog's word, behind a seam that tests replace."""

from __future__ import annotations

from typing import Protocol

from genplatform.services import endpoints
from genplatform.services.context import Wiring
from genplatform.services.endpoints import Route


class Routing(Protocol):
    """Finds endpoints. Both calls may block, and are made in threads."""

    def find(self, tenant: str, model: str) -> Route:
        """Return where `model` (an endpoint's name, or a served NAME@V) is served; raises `NotFound`."""

    def served(self, tenant: str) -> list[Route]:
        """Return all endpoints of a tenant."""


class CatalogRouting:
    """Asks the catalog for each request, so that a deleted endpoint is gone at once."""

    def __init__(self, w: Wiring) -> None:
        self._wiring = w

    def find(self, tenant: str, model: str) -> Route:
        """Return where `model` is served."""
        return endpoints.route(self._wiring, tenant, model)

    def served(self, tenant: str) -> list[Route]:
        """Return all endpoints of a tenant."""
        return endpoints.served(self._wiring, tenant)
