"""Worker classes small enough to test an engine with, importable by name wherever the engine runs them."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any

from genworkers.actor import where
from genworkers.runner import Runner

PATIENT = "engine_actors:Patient"
STILLBORN = "engine_actors:Stillborn"
FAILING = "engine_actors:Failing"
FULL_RUNNER = "engine_actors:FullRunner"
QUICK_RUNNER = "engine_actors:QuickRunner"
ECHO_APP = "engine_actors:echo_app"


class Patient:
    """Works until it is told to stop, and then says why; writes its pid to `order["pid_file"]`, if there is one."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        self._order = order
        self._over = threading.Event()
        self._outcome = "stopped"

    def start(self) -> None:
        if "pid_file" in self._order:
            with open(self._order["pid_file"], "w") as file:
                file.write(str(os.getpid()))

    def ping(self) -> dict[str, object]:
        return {"pid": os.getpid(), "node": where()}

    def stop(self, reason: str) -> None:
        self._outcome = f"stopped for {reason}"
        self._over.set()

    def join(self) -> str:
        self._over.wait()
        return self._outcome


class Stillborn(Patient):
    """Cannot be made."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        raise ValueError(f"no such recipe: {order['recipe']}")


class Failing(Patient):
    """Its work ends by an error as soon as anybody asks."""

    def join(self) -> str:
        raise RuntimeError("the loss is not a number")


class QuickRunner(Runner):
    """A runner that is ready at once: the actors here need nothing."""

    def _warm_up(self) -> None:
        """Import nothing."""


class FullRunner(QuickRunner):
    """A runner on a node whose memory is used up."""

    def _is_roomy(self) -> bool:
        return False


def echo_app(order: Mapping[str, Any], min_replicas: int, max_replicas: int) -> Any:
    """Return a Serve application that answers any request with its order's `word`."""
    from ray import serve

    @serve.deployment(num_replicas=min_replicas, ray_actor_options={"num_cpus": order["cpus"]})
    class Echo:
        def __init__(self, word: str) -> None:
            if word == "broken":
                raise ValueError("the weights are not there")
            self._word = word

        async def __call__(self, request: Any) -> dict[str, Any]:
            return {"word": self._word, "pid": os.getpid(), "path": request.url.path}

    return Echo.bind(order["word"])
