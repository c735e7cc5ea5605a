"""A record with everything in it: jobs in every state, with all that such jobs have, made by the services."""

from __future__ import annotations

import json

from small_platform import TENANT, SmallPlatform, generate, train

from genplatform.domain import layout
from genplatform.domain.keys import RunKey
from genplatform.domain.retry import Cause
from genplatform.services import cancel, endpoints, finish, fold, pause

TIME = 1_800_000_000.0


def live(p: SmallPlatform) -> dict[str, str]:
    """Let a platform live a little; return the ids of its jobs by their names, which say what became of each."""
    ids: dict[str, str] = {}

    def submitted(text: str, name: str) -> str:
        ids[name] = p.submit(text, key=f"key of {name}")[0]
        return ids[name]

    trained = p.open(submitted(train("trained"), "trained"))
    node = p.trainer(trained)
    node.start()
    node.checkpoint(50, store_checkpoint(p, trained.key, 50))
    node.report(
        progress={"done": 60, "total": 100, "unit": "steps", "rate": 5.0},
        metrics=[{"step": 60, "time": TIME, "values": {"loss": 0.5}}],
        logs=[{"seq": n, "time": TIME, "text": f"line {n}"} for n in (1, 2)],
        events=[{"type": "resumed", "time": TIME, "data": {"step": 50}}],
    )
    fold.fold(p.w, p.term())
    found = {"metrics": {"recall": {"value": 0.9, "anchors": {"held_out": 0.97}}}}
    node.publish(card={"code_version": "0.1.0", "weights": store_model(p)}, evaluation=found)

    worker = p.worker(p.open(submitted(generate("made", model="trained@latest"), "made")))
    p.clock.go(3)
    worker.work()
    finish.finish(p.w, p.term(), [p.row(ids["made"])])

    lost = submitted(train("again"), "again")
    for cause in (Cause.NODE_LOST, Cause.PREEMPTED):
        node = p.trainer(p.open(lost))
        node.start()
        p.lose(lost, cause)
    node = p.trainer(p.open(lost))
    node.start()

    p.open(submitted(train("begun"), "begun"))
    bad = p.trainer(p.open(submitted(train("bad"), "bad")))
    bad.start()
    bad.fail()
    broken = p.worker(p.open(submitted(generate("broken"), "broken")))
    broken.fail(broken.claim()[0])
    worker = p.worker(p.open(submitted(generate("half"), "half")))
    worker.work(1)
    worker.claim()

    submitted(train("queued"), "queued")
    submitted(train("follows", "needs: [queued]\n"), "follows")
    submitted(train("held", "needs: [queued]\n"), "held")
    pause.pause(p.w, TENANT, ids["held"])
    backs_off = submitted(train("backs-off"), "backs-off")
    for _ in range(2):
        p.open(backs_off)
        p.lose(backs_off)

    cancel.cancel(p.w, TENANT, submitted(train("unwanted"), "unwanted"))
    stopping = p.trainer(p.open(submitted(train("stopping"), "stopping")))
    stopping.start()
    cancel.cancel(p.w, TENANT, ids["stopping"])
    endpoints.create(p.w, TENANT, "digits", "trained@1", max_replicas=2)
    return ids


def store_checkpoint(p: SmallPlatform, run: RunKey, step: int) -> str:
    """Put a checkpoint's files where its run puts them; return its digest."""
    folder = layout.checkpoint(run, step)
    weights = p.w.store.put_bytes(f"{folder}/modules.safetensors", b"weights of a kind")
    state = {"step": step, "files": {"modules.safetensors": weights.sha256}}
    return p.w.store.put_bytes(f"{folder}/{layout.STATE}", json.dumps(state).encode()).sha256


def store_model(p: SmallPlatform) -> dict[str, str]:
    """Put the files of the model that fake nodes publish; return what its card says of its weights."""
    folder = layout.model(TENANT, "d" * 64)
    p.w.store.put_bytes(f"{folder}/{layout.CONFIG}", b"{}")
    weights = p.w.store.put_bytes(f"{folder}/{layout.WEIGHTS}", b"more weights of a kind")
    return {"file": layout.WEIGHTS, "sha256": weights.sha256}
