"""A worker of a pool: it loads one model once, then claims shards of any job of that model.

Invariants: no shard's files are visible in the store before they are all there; nothing is
published but by /publish, which refuses a claim that is not current; whatever a claim wrote
and did not publish is under a name that no other claim uses.
"""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genplatform.domain import layout
from genplatform.domain.retry import Cause
from genplatform.errors import BadRequest, Fenced, GenctlError
from genplatform.store import Store
from genworkers.actor import Actor
from genworkers.failures import Failure, explain
from genworkers.scratch import scratch, sweep
from genworkers.stop import CANCEL, LOST

if TYPE_CHECKING:
    from genworkers.images import Payload
    from genworkers.models import LoadedModel

log = logging.getLogger(__name__)

LONGEST_POLL_SECONDS = 20.0
PAUSE_SECONDS = 0.05
WHERE_THE_TRACEBACK_IS = "the worker's own log, on its node"
# Said of a claim that is handed back: the fault was another job's, so it costs this one no try.
UNTOUCHED = Failure(Cause.PREEMPTED, "Its worker broke on another shard before it came to this one.", "", "")
PUBLISH_SECONDS = 1.0  # finished shards are shown at least this often while others are under way


class PoolActor(Actor):
    """Works for one pool. `join` returns the end: idle, stopped, failed, lost or unreachable.

    Asked to stop, it drops the shard under way for `cancel` and `lost` and else finishes it; no more are claimed.
    """

    def __init__(self, order: Mapping[str, Any]) -> None:
        self._claims = _Claims()
        super().__init__(order)

    def ping(self) -> dict[str, Any]:
        """Give a sign of life, and how many claims are held."""
        return {**super().ping(), "claims": len(self._claims.alive())}

    def _execute(self) -> str:
        self._heartbeat.start()
        store = Store(self._order["store_url"])
        sweep()
        with scratch("pool") as place:
            model, failure = self._load(store, place)
            idle_since = time.monotonic()
            while self._stop.reason is None:
                left = float(self._order["idle_seconds"]) - (time.monotonic() - idle_since)
                if left <= 0:
                    return "idle"
                orders = self._client.claim(
                    self._order["actor"],
                    self._node,
                    int(self._order["max_claims"]),
                    min(left, LONGEST_POLL_SECONDS),
                    max_items=int(self._order["model"]["tile"]),
                )
                if not orders:
                    self._stop.wait(PAUSE_SECONDS)  # in case the platform did not wait on its side
                    continue
                self._claims.take(orders)
                if model is None or failure is not None:
                    # Whoever waits for these shards is told why; another worker may fare better.
                    assert failure is not None  # noqa: S101 - _load returns one of the two
                    for order in orders:
                        self._fail(order, failure)
                    return "failed"
                if not self._make(orders, model, store, place):
                    return "failed"
                idle_since = time.monotonic()
        return "stopped"

    def _load(self, store: Store, place: Path) -> tuple[LoadedModel | None, Failure | None]:
        # Heavy imports come here, so that the actor answers and beats while they run.
        import torch

        from genworkers import models
        from genworkers.context import patiently
        from genworkers.data.fetching import uploads_of
        from genworkers.references import References

        torch.set_num_threads(int(self._order["threads"]))
        try:
            model = patiently(lambda: models.load(store, self._order["model"], place))
            model.sampler.references = References(uploads_of(self._order["store_url"], self._order["tenant"]), place)
        except Exception as error:
            log.exception("model_not_loaded")
            return None, explain(error, WHERE_THE_TRACEBACK_IS)
        log.info("model_loaded model=%s digest=%s", model.name, model.digest)
        return model, None

    def _make(self, orders: list[dict[str, Any]], model: LoadedModel, store: Store, place: Path) -> bool:
        """Make, store and publish claimed shards; tell whether this worker is fit for more."""
        finished: list[dict[str, Any]] = []
        published_at = time.monotonic()
        waiting = deque(orders)
        together = self._drawn_together(orders, model)
        while waiting:
            order = waiting.popleft()
            if self._stop.reason is not None:
                self._claims.drop(order)
                continue
            try:
                done = self._make_one(order, model, store, place, together.get(_key(order)))
            except Exception as error:
                failure = explain(error, WHERE_THE_TRACEBACK_IS)
                log.exception("shard_failed job=%s shard=%s", order["job_id"], order["shard"])
                self._publish(finished)
                self._fail(order, failure)
                if not isinstance(error, BadRequest):
                    # A worker that broke is replaced, not trusted with the next try.
                    for other in waiting:
                        self._fail(other, UNTOUCHED)
                    return False
                finished, done = [], None
            if done is not None:
                finished.append(done)
            if finished and time.monotonic() - published_at >= PUBLISH_SECONDS:
                self._publish(finished)
                finished, published_at = [], time.monotonic()
        self._publish(finished)
        return True

    def _drawn_together(
        self, orders: list[dict[str, Any]], model: LoadedModel
    ) -> dict[tuple[str, int, int], list[Payload]]:
        from genworkers.generating.shard import drawn_together

        try:
            drawn = drawn_together(orders, model.sampler)
        except Exception:  # each by itself will tell which of them it was
            log.exception("shards_not_drawn_together")
            return {}
        return {(key.job_id, key.run, key.shard): pictures for key, pictures in drawn.items()}

    def _make_one(
        self, order: dict[str, Any], model: LoadedModel, store: Store, place: Path, drawn: list[Payload] | None
    ) -> dict[str, Any] | None:
        """Return what /publish is told of a shard, or None when it is not wanted any more."""
        from genworkers.context import patiently
        from genworkers.generating.shard import claim_key, write_shard

        unwanted = self._unwanted(order)
        with tempfile.TemporaryDirectory(prefix="shard-", dir=place) as folder:
            size = write_shard(order, model.sampler, Path(folder), unwanted, drawn)
            if size is None:
                self._claims.drop(order)
                return None
            key = layout.shard(claim_key(order))
            stored = patiently(lambda: store.put_tree(folder, key))
        if unwanted():
            # Nobody was told of it yet, so nobody can have referred to it.
            with suppress(GenctlError):
                store.remove(key)
            self._claims.drop(order)
            return None
        manifest = next(s for s in stored if s.key == f"{key}/{layout.MANIFEST}")
        return {
            **_claim(order),
            "count": int(order["count"]),
            "failed": 0,
            "manifest": manifest.as_json(),
            "bytes": size,
        }

    def _unwanted(self, order: Mapping[str, Any]) -> Callable[[], bool]:
        return lambda: self._stop.reason in {LOST, CANCEL} or not self._claims.is_wanted(order)

    def _publish(self, finished: list[dict[str, Any]]) -> None:
        if not finished:
            return
        # A refused shard's files are left alone: after a repeated request a refusal may mean
        # that the first one was taken. What nothing refers to is collected later.
        answer = self._client.publish({"kind": "shards", "shards": finished})
        for result in answer.get("results", []):
            if not result.get("published"):
                log.warning("shard_refused job=%s shard=%s: %s", result.get("job_id"), result.get("shard"), result)
        for shard in finished:
            self._claims.drop(shard)

    def _fail(self, order: Mapping[str, Any], failure: Failure) -> None:
        with suppress(Fenced):
            self._client.failed({**_claim(order), **failure.as_json()})
        self._claims.drop(order)

    def _alive(self) -> dict[str, Any]:
        return {"worker": self._order["actor"], "node": self._node, "runs": [], "claims": self._claims.alive()}

    def _told_to_stop(self, entry: Mapping[str, Any]) -> None:
        self._claims.told_to_stop(entry)


def _claim(order: Mapping[str, Any]) -> dict[str, Any]:
    return {name: order[name] for name in ("job_id", "run", "shard", "claim")}


class _Claims:
    """The claims a worker holds, as its heartbeat tells them, and which of them are not wanted any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[tuple[str, int, int], dict[str, Any]] = {}
        self._unwanted: set[tuple[str, int, int]] = set()

    def take(self, orders: list[dict[str, Any]]) -> None:
        """Hold these claims."""
        with self._lock:
            for order in orders:
                self._held[_key(order)] = _claim(order)

    def drop(self, order: Mapping[str, Any]) -> None:
        """Hold this claim no more."""
        with self._lock:
            self._held.pop(_key(order), None)
            self._unwanted.discard(_key(order))

    def alive(self) -> list[dict[str, Any]]:
        """Return the claims that are held."""
        with self._lock:
            return list(self._held.values())

    def is_wanted(self, order: Mapping[str, Any]) -> bool:
        """Tell whether nobody has said to stop this one."""
        with self._lock:
            return _key(order) not in self._unwanted

    def told_to_stop(self, entry: Mapping[str, Any]) -> None:
        """Hear a heartbeat's answer: one shard, or all of a job's when it names none."""
        if entry.get("reason") not in {LOST, CANCEL}:
            return  # a pause lets the shard under way finish: it is short
        with self._lock:
            for key in self._held:
                job, run, shard = key
                if (job, run) == (entry.get("job_id"), entry.get("run")) and entry.get("shard") in {None, shard}:
                    self._unwanted.add(key)


def _key(order: Mapping[str, Any]) -> tuple[str, int, int]:
    return str(order["job_id"]), int(order["run"]), int(order["shard"])
