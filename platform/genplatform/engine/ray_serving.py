"""Serving on Ray Serve, spoken to through `ray_link`."""

from __future__ import annotations

from genplatform.engine.ray_engine import CALL_SECONDS, NAMESPACE
from genplatform.engine.ray_link import RayLink, Refused, shared_link
from genplatform.engine.seam import SERVE_APP, Served, ServeOrder
from genplatform.errors import BadRequest

# The first one also starts Serve: its controller and its proxy.
APPLY_SECONDS = 90.0


class RayServing:
    """Serving on the Ray at `address`, its HTTP on loopback at `http_port` (0: a free one, kept until Serve ends).

    Serve is started by the first `apply`; one that runs already is used as it is, at the
    port it has.
    """

    def __init__(
        self,
        address: str,
        http_port: int = 0,
        namespace: str = NAMESPACE,
        app: str = SERVE_APP,
        link: RayLink | None = None,
    ) -> None:
        self._link = link or shared_link(address, namespace)
        self._http_port = http_port
        self._app = app

    def apply(self, order: ServeOrder) -> None:
        """Deploy the endpoint; returns before its replicas are ready. Raises BadRequest when it cannot be built."""
        try:
            self._link.call(
                "apply",
                APPLY_SECONDS,
                name=order.name,
                app=self._app,
                order=dict(order.order),
                min_replicas=order.min_replicas,
                max_replicas=order.max_replicas,
                generation=order.generation,
                port=self._http_port,
            )
        except Refused as error:
            raise BadRequest(f"Endpoint {order.name} cannot be served: {error}") from error

    def remove(self, name: str) -> None:
        """Take the endpoint down."""
        self._link.call("remove", CALL_SECONDS, name=name)

    def served(self) -> dict[str, Served]:
        """Return what Serve has, by name."""
        return {one["name"]: Served(**one) for one in self._link.call("served", CALL_SECONDS)}

    def close(self) -> None:
        """Let go of the cluster; the endpoints live on."""
        self._link.close()
