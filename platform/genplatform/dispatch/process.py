"""The dispatcher's process: its loop, its serving thread, and how it goes down."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable

from genplatform.dispatch.dispatcher import Dispatcher
from genplatform.dispatch.keeper import Keeper
from genplatform.dispatch.serving import ServingController
from genplatform.errors import GenctlError

log = logging.getLogger(__name__)

IDLE_SECONDS = 0.5
# With nothing queued and nothing at work a wake says what is new; a round looks after what has a time.
STILL_SECONDS = 2.0
# A round that follows at once waits as long as the one before it took, and at most so long: a line of small jobs wakes
# the dispatcher with each of them, and what comes meanwhile is brought to work together, in one transaction.
LONGEST_REST = 0.05
SERVING_SECONDS = 0.5
DRAIN_SECONDS = 15.0
TROUBLE_SECONDS = 1.0


def run(
    dispatcher: Dispatcher,
    controller: ServingController,
    keeper: Keeper,
    wait_for_wake: Callable[[float], bool],
) -> None:
    """Run until SIGTERM or SIGINT, then drain."""
    over, wished = threading.Event(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    looks = (dispatcher, controller, over, wished)
    serving = threading.Thread(target=_serve, args=looks, name="serving", daemon=True)
    serving.start()
    keeper.start()
    while not over.is_set():
        keeper.came_round()
        begun = keeper.clock()
        try:
            if dispatcher.tick():
                rested = keeper.clock()
                took = rested - begun
                if wait_for_wake(IDLE_SECONDS if dispatcher.has_work else STILL_SECONDS):
                    wished.set()
                over.wait(max(0.0, rested + min(took, LONGEST_REST) - keeper.clock()))
            else:
                over.wait(IDLE_SECONDS)  # a wake is heard once: it is for the one that leads
        except GenctlError as error:
            log.warning("tick_failed", extra={"detail": error.message})
            over.wait(TROUBLE_SECONDS)
    wished.set()
    keeper.stop()
    try:
        dispatcher.drain(DRAIN_SECONDS, threading.Event().wait)
    except GenctlError as error:
        log.warning("drain_failed", extra={"detail": error.message})
    serving.join(timeout=TROUBLE_SECONDS)


def _serve(
    dispatcher: Dispatcher, controller: ServingController, over: threading.Event, wished: threading.Event
) -> None:
    while not over.wait(SERVING_SECONDS):
        if not controller.serves:
            wished.wait(STILL_SECONDS)  # whoever wishes for an endpoint wakes the dispatcher
        wished.clear()
        if dispatcher.term is None:
            continue
        try:
            controller.tick(dispatcher.term)
        except GenctlError as error:
            log.warning("serving_step_failed", extra={"detail": error.message})
        except Exception:
            # The loop is the only one to bring endpoints up: it must outlive any one of them.
            log.exception("serving_step_broke")
