"""The process that holds a connection to Ray for `ray_link`: reads calls, writes answers, ends with its parent.

Not of the public surface: `python -m genplatform.engine.ray_host ADDRESS NAMESPACE`.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

import ray

from genplatform.engine.loading import LoadError
from genplatform.engine.ray_actors import RayActors
from genplatform.engine.ray_apps import RayApps

# More than both callers of a dispatcher (its loop, its serving controller) have under way at once.
THREADS = 8
GOODBYE_SECONDS = 3.0

Method = Callable[..., Any]


class Answers:
    """Writes answers, one line each, whole."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def result(self, number: int, result: Any) -> None:
        """Answer call `number`."""
        self._write({"id": number, "result": result})

    def error(self, number: int, error: Exception) -> None:
        """Answer call `number` with what went wrong; `refused` when asking again would give the same."""
        message = str(error).strip() or type(error).__name__
        refused = isinstance(error, LoadError)
        if not refused:
            message = f"Ray failed: {type(error).__name__}: {message.splitlines()[0]}"
        self._write({"id": number, "error": {"message": message, "refused": refused}})

    def _write(self, answer: dict[str, Any]) -> None:
        with self._lock:
            self._stream.write(json.dumps(answer) + "\n")
            self._stream.flush()


def serve(calls: IO[str], answers: Answers, methods: dict[str, Method]) -> None:
    """Answer calls until there are no more, several at a time."""

    def answer(call: dict[str, Any]) -> None:
        try:
            result = methods[call["method"]](**call["arguments"])
        except Exception as error:  # whatever it is, the caller must hear of it
            answers.error(call["id"], error)
        else:
            answers.result(call["id"], result)

    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="call")
    for line in calls:
        pool.submit(answer, json.loads(line))


def _own_stdout() -> IO[str]:
    """Keep the pipe for answers, and send what libraries print to standard error."""
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return pipe


def main(address: str, namespace: str) -> None:
    """Connect, serve, say goodbye to Ray, and end even when Ray does not let go."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    answers = Answers(_own_stdout())
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    try:
        ray.init(address=address, namespace=namespace, log_to_driver=False, logging_level="error")
    except Exception as error:  # the parent turns it into one sentence
        answers.error(0, error)
        os._exit(1)
    # Whoever ends a whole group ends the parent too, which may still need this to drain; set after Ray set its own.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    actors, apps = RayActors(namespace), RayApps()
    answers.result(0, {"pid": os.getpid()})
    serve(sys.stdin, answers, actors.methods() | apps.methods())
    goodbye = threading.Thread(target=ray.shutdown, daemon=True)
    goodbye.start()
    goodbye.join(GOODBYE_SECONDS)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
