"""Endpoints: a command records the wish, the serving controller makes Ray Serve match it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from genplatform.catalog import EndpointRow, ModelRow
from genplatform.domain.names import NAME_RULE, is_name, parse_model_ref
from genplatform.domain.states import EndpointState
from genplatform.domain.tokens import endpoint_secret
from genplatform.errors import BadRequest, NotFound
from genplatform.services import lookup, present
from genplatform.services.context import Wiring, hint
from genplatform.services.leadership import led
from genplatform.services.orders import THREADS
from genplatform.services.runs import model_order

MOST_REPLICAS = 1000
REPLICA_CPUS = 0.5


@dataclass(frozen=True)
class Route:
    """Where the gateway finds what a request's `model` names."""

    name: str
    url: str | None
    secret: str
    model: str
    tile: int
    modality: str
    recipe: str
    config: dict[str, Any]
    cond: dict[str, Any] | None  # the JSON Schema of its conditions
    state: str
    reason: str
    ready: bool


@dataclass(frozen=True)
class Wish:
    """One endpoint as it should be: what the serving controller obeys."""

    row: EndpointRow
    order: dict[str, Any]

    @property
    def app(self) -> str:
        """The name it is served under."""
        return f"{self.row.tenant_id}.{self.row.name}"


def create(
    w: Wiring, tenant: str, name: str, model: str, min_replicas: int = 1, max_replicas: int = 1
) -> dict[str, Any]:
    """Wish for an endpoint. The same wish again is a no-op; another model or scale is an update."""
    if not is_name(name):
        raise BadRequest(f"{name!r} cannot name an endpoint.", f"A name is {NAME_RULE}.")
    if not 0 <= min_replicas <= max_replicas <= MOST_REPLICAS or max_replicas < 1:
        raise BadRequest(
            f"{min_replicas} to {max_replicas} replicas cannot be: the first is at most the second.",
            f"Give 0 <= min_replicas <= max_replicas, and max_replicas from 1 to {MOST_REPLICAS}.",
        )
    with w.catalog.write() as tx:
        version = lookup.model(tx, tenant, model)
        found = tx.endpoints.find(tenant, name, lock=True)
        wish: dict[str, Any] = {
            "model_version_id": version.id,
            "min_replicas": min_replicas,
            "max_replicas": max_replicas,
        }
        pending: dict[str, Any] = {
            "state": EndpointState.PENDING.value,
            "reason_code": "starting",
            "reason_message": "Its replicas are being started.",
        }
        if found is None:
            born = {"tenant_id": tenant, "name": name, "generation": 1, "ready": 0, "created_at": w.clock()}
            tx.endpoints.insert(born | wish | pending)
        elif found.state == EndpointState.DELETING:
            # Its replicas are being taken down: nobody is to be sent to them any more.
            tx.endpoints.wish_again(found, wish | pending | {"ready": 0, "url": None})
        elif any(getattr(found, k) != v for k, v in wish.items()):
            tx.endpoints.wish_again(found, wish | pending)
        row = tx.endpoints.find(tenant, name)
        answer = present.endpoint(w, row, version) if row else {}
    with hint():
        w.queues.wake()
    return answer


def ls(w: Wiring, tenant: str) -> dict[str, Any]:
    """Return the endpoints."""
    with w.catalog.read() as tx:
        rows = tx.endpoints.all(tenant)
        return {"endpoints": [present.endpoint(w, r, tx.models.get(r.model_version_id)) for r in rows]}


def show(w: Wiring, tenant: str, name: str) -> dict[str, Any]:
    """Return one endpoint."""
    with w.catalog.read() as tx:
        row = tx.endpoints.find(tenant, name)
        if row is None:
            raise _none(name)
        return present.endpoint(w, row, tx.models.get(row.model_version_id))


def delete(w: Wiring, tenant: str, name: str) -> dict[str, Any]:
    """Wish an endpoint away; it is gone once nothing serves it any more."""
    with w.catalog.write() as tx:
        row = tx.endpoints.find(tenant, name, lock=True)
        if row is None:
            raise _none(name)
        if row.state != EndpointState.DELETING:
            changes = {"state": EndpointState.DELETING.value, "reason_code": None, "reason_message": None}
            tx.endpoints.wish_again(row, changes)
        row = tx.endpoints.find(tenant, name) or row
        answer = present.endpoint(w, row, tx.models.get(row.model_version_id))
    with hint():
        w.queues.wake()
    return answer


def route(w: Wiring, tenant: str, model: str) -> Route:
    """Return where `model` (an endpoint's name, or NAME@V of one that is served) is answered."""
    with w.catalog.read() as tx:
        row = tx.endpoints.find(tenant, model) if is_name(model) else None
        if row is not None and row.state != EndpointState.DELETING:
            return _route(w, row, tx.models.get(row.model_version_id))
        ref = parse_model_ref(model)
        if ref is not None and ref.version is not None:
            for row in tx.endpoints.all(tenant):
                version = tx.models.get(row.model_version_id)
                if version.ref == str(ref) and row.state != EndpointState.DELETING:
                    return _route(w, row, version)
    raise NotFound(f"The model {model!r} is not served here.", "`genctl endpoints ls` lists what is.")


def served(w: Wiring, tenant: str) -> list[Route]:
    """Return every endpoint's route."""
    with w.catalog.read() as tx:
        rows = [r for r in tx.endpoints.all(tenant) if r.state != EndpointState.DELETING]
        return [_route(w, r, tx.models.get(r.model_version_id)) for r in rows]


def wishes(w: Wiring) -> list[Wish]:
    """Return every tenant's endpoints as they should be served."""
    with w.catalog.read() as tx:
        return [_wish(w, row, tx.models.get(row.model_version_id)) for row in tx.endpoints.all()]


def observe(
    w: Wiring,
    term: int,
    row: EndpointRow,
    *,
    state: EndpointState,
    ready: int,
    url: str | None,
    reason: tuple[str, str] | None,
) -> None:
    """Record how far the controller is with a wish; says nothing of a newer wish."""
    code, message = reason or (None, None)
    with led(w, term) as tx:
        tx.endpoints.update(
            row.id,
            generation=row.generation,
            state=state.value,
            ready=ready,
            url=url,
            reason_code=code,
            reason_message=message,
            confirmed_at=w.clock(),
        )


def gone(w: Wiring, term: int, row: EndpointRow) -> None:
    """Forget an endpoint that is not served any more, unless it was wished for again."""
    with led(w, term) as tx:
        tx.endpoints.delete(row.id, row.generation)


def _wish(w: Wiring, row: EndpointRow, model: ModelRow) -> Wish:
    order = {
        "endpoint": row.name,
        "tenant": row.tenant_id,
        "route": f"/endpoints/{row.tenant_id}/{row.name}",
        "secret": endpoint_secret(w.secret, row.tenant_id, row.name),
        "store_url": w.store.url,
        "model": model_order(model),
        "cpus": REPLICA_CPUS,
        "threads": THREADS,
    }
    return Wish(row, order)


def _route(w: Wiring, row: EndpointRow, model: ModelRow) -> Route:
    answering = row.state in (EndpointState.READY, EndpointState.DEGRADED)
    return Route(
        name=row.name,
        url=row.url,
        secret=endpoint_secret(w.secret, row.tenant_id, row.name),
        model=model.ref,
        tile=model.tile,
        modality=model.modality,
        recipe=model.recipe,
        config=model.config,
        cond=model.card.get("cond"),
        state=row.state,
        reason=row.reason_message or "",
        ready=row.url is not None and (answering or row.ready > 0),
    )


def _none(name: str) -> NotFound:
    return NotFound(f"There is no endpoint {name!r}.", "`genctl endpoints ls` lists what there is.")
