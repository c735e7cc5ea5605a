"""Settings become a wired platform: the one place that knows every concrete part."""

from __future__ import annotations

import math
import os
import secrets
import socket
import time
from pathlib import Path
from tempfile import mkdtemp

from genplatform import queues
from genplatform.catalog import Catalog, migrate
from genplatform.domain.times import span
from genplatform.errors import SettingsError
from genplatform.observe import logs
from genplatform.queues.memory import MemoryQueues
from genplatform.services.context import Wiring
from genplatform.settings import Settings
from genplatform.spec import RecipeBook
from genplatform.store import Store


def wire(settings: Settings, url: str = "") -> Wiring:
    """Return the platform that the settings describe; `url` is its origin as clients reach it.

    Connects to nothing yet. Raises SettingsError for a setting that cannot be used.
    """
    secret = settings.token()
    if not secret:
        raise SettingsError(
            f"There is no token: {settings.token_file} is missing.",
            "Run `genctl up`, which makes one, or set GENCTL_API_KEY.",
        )
    return Wiring(
        catalog=Catalog(settings.database),
        queues=queues.connect(settings.redis),
        store=Store(settings.store),
        recipes=RecipeBook.builtin(),
        secret=secret,
        clock=time.time,
        randbelow=secrets.randbelow,
        url=url,
        folders=settings.local_folders,
        monotonic=time.monotonic,
    )


def in_memory(secret: str = "secret", url: str = "http://127.0.0.1:1") -> Wiring:  # noqa: S107 - for tests
    """Return a platform for unit tests: the queues' in-memory twin, and a catalog and store that nobody keeps."""
    folder = Path(mkdtemp(prefix="genctl-unit-"))
    database = f"sqlite:///{folder / 'catalog.db'}"
    migrate.upgrade(database)
    return Wiring(
        catalog=Catalog(database),
        queues=MemoryQueues(time.time),
        store=Store((folder / "store").as_uri()),
        recipes=RecipeBook.builtin(),
        secret=secret,
        clock=time.time,
        randbelow=secrets.randbelow,
        url=url,
    )


def run_api(settings: Settings, host: str, port: int) -> None:
    """Serve the API until SIGTERM."""
    from genplatform.api.server import serve

    logs.configure("api")
    serve(wire(settings, url=f"http://{host}:{port}"), host, port)


def run_dispatcher(settings: Settings, api_url: str) -> None:
    """Run the dispatcher until SIGTERM; then drain."""
    from genplatform.dispatch import process
    from genplatform.dispatch.dispatcher import Dispatcher
    from genplatform.dispatch.keeper import Keeper
    from genplatform.dispatch.serving import ServingController
    from genplatform.dispatch.warmth import Warmth
    from genplatform.engine.ray_engine import RayEngine
    from genplatform.engine.ray_serving import RayServing

    logs.configure("dispatcher")
    w = wire(settings, url=api_url)
    engine = RayEngine(settings.ray_address)
    holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    warmth = Warmth(w.steady, settings.warm_runners, warm_idle(settings))
    dispatcher = Dispatcher(w, engine, holder, api_url, warmth, autoscales=settings.autoscales)
    controller = ServingController(w, RayServing(settings.ray_address))
    keeper = Keeper(dispatcher.renew, time.monotonic)
    process.run(dispatcher, controller, keeper, w.queues.wait_for_wake)


def warm_idle(settings: Settings) -> float:
    """Return after how many idle seconds no runner is kept; infinity where none is set. Raises SettingsError."""
    if not settings.warm_idle:
        return math.inf
    seconds = span(settings.warm_idle)
    if seconds is None:
        raise SettingsError(f"GENCTL_WARM_IDLE is {settings.warm_idle!r}, which is no time.", "Set it such as 30m.")
    return seconds
