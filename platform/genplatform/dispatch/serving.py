"""The serving controller: makes what is served match what is wished, and says how far it is."""

from __future__ import annotations

import logging

from genplatform.catalog import EndpointRow
from genplatform.domain.states import EndpointState
from genplatform.engine.seam import Served, ServeOrder, Serving
from genplatform.errors import BadRequest, Unavailable
from genplatform.services import endpoints
from genplatform.services.context import Wiring
from genplatform.services.endpoints import Wish

log = logging.getLogger(__name__)

CONFIRM_SECONDS = 5.0
# What cannot be built is tried again so much later: what it lacks may have come.
REFUSED_SECONDS = 30.0
UNKNOWN = 0
Seen = tuple[str, int, str | None, tuple[str, str] | None]


class ServingController:
    """One level-triggered loop over all endpoints; a restarted one starts from what it finds."""

    def __init__(self, w: Wiring, serving: Serving) -> None:
        self._w = w
        self._serving = serving
        self._applied: dict[str, int] = {}
        self._refused: dict[str, tuple[int, float]] = {}
        self._told: dict[int, tuple[int, Seen, float]] = {}
        self.serves = False  # whether anything is wished for, or was at the last look

    def tick(self, term: int) -> None:
        """Compare wishes with what is served, and act. Raises Unavailable and LostLeadership."""
        wishes = endpoints.wishes(self._w)
        if not wishes and not self.serves:
            return  # Ray Serve is not started before somebody wants an endpoint
        served = self._serving.served() if self.serves or wishes else {}
        self.serves = bool(wishes)
        for wish in wishes:
            found = served.get(wish.app)
            if wish.row.endpoint_state is EndpointState.DELETING:
                self._take_down(term, wish, found)
            else:
                self._try_to_bring_up(term, wish, found)
        for name in served.keys() - {wish.app for wish in wishes}:
            self._serving.remove(name)
            self._applied.pop(name, None)

    def _try_to_bring_up(self, term: int, wish: Wish, found: Served | None) -> None:
        """Bring one endpoint up; what is wrong with it must not keep the others waiting."""
        generation, until = self._refused.get(wish.app, (0, 0.0))
        if generation == wish.row.generation and self._w.steady() < until:
            return
        try:
            self._bring_up(term, wish, found)
        except BadRequest as error:
            self._refused[wish.app] = (wish.row.generation, self._w.steady() + REFUSED_SECONDS)
            ready = found.ready if found else 0
            self._observe(term, wish.row, (EndpointState.FAILED.value, ready, wish.row.url, ("refused", error.message)))
        except Unavailable as error:
            log.warning("endpoint_not_reached", extra={"endpoint": wish.app, "detail": error.message})

    def _bring_up(self, term: int, wish: Wish, found: Served | None) -> None:
        row = wish.row
        # Another generation than ours is what a leader before us applied after all.
        stale = found is not None and found.generation not in (UNKNOWN, row.generation)
        if found is None or stale or self._applied.get(wish.app) != row.generation:
            order = ServeOrder(wish.app, wish.order, row.min_replicas, row.max_replicas, row.generation)
            self._serving.apply(order)
            self._applied[wish.app] = row.generation
            log.info("endpoint_applied", extra={"endpoint": wish.app, "generation": row.generation})
            return
        state, reason = _judge(row, found)
        url = found.url or row.url
        self._observe(term, row, (state.value, found.ready, url, reason))

    def _take_down(self, term: int, wish: Wish, found: Served | None) -> None:
        if found is not None:
            self._serving.remove(wish.app)
            return
        self._applied.pop(wish.app, None)
        self._told.pop(wish.row.id, None)
        endpoints.gone(self._w, term, wish.row)
        log.info("endpoint_removed", extra={"endpoint": wish.app})

    def _observe(self, term: int, row: EndpointRow, seen: Seen) -> None:
        """Record what was seen when it changed, and now and then that it still is so."""
        now = self._w.steady()
        told = self._told.get(row.id)
        if told is not None and told[:2] == (row.generation, seen) and now - told[2] < CONFIRM_SECONDS:
            return
        state, ready, url, reason = seen
        endpoints.observe(self._w, term, row, state=EndpointState(state), ready=ready, url=url, reason=reason)
        self._told[row.id] = (row.generation, seen, now)


def _judge(row: EndpointRow, found: Served) -> tuple[EndpointState, tuple[str, str] | None]:
    """Return the state that what is served deserves, and why when it is not `ready`."""
    if found.state == "failed":
        return EndpointState.FAILED, ("start_failed", found.message or "Its replicas cannot be started.")
    if found.state == "running" and found.ready >= row.min_replicas:
        return EndpointState.READY, None
    if found.ready > 0 and found.ready >= row.min_replicas:
        return EndpointState.DEGRADED, ("rolling_over", "An earlier wish is answered until this one is up.")
    if found.ready > 0:
        message = f"{found.ready} of at least {row.min_replicas} replicas answer. {found.message}".strip()
        return EndpointState.DEGRADED, ("replicas_missing", message)
    return EndpointState.PENDING, ("starting", found.message or "Its replicas are being started.")
