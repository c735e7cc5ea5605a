"""Work that is long enough to be hit in its middle, and what must be true of it at its end."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from whole_platform import WholePlatform

ITEMS = 5000
TRAIN = "kind: train\nname: {name}\nrecipe: gan\nbudget: {{steps: 1500}}\nseed: 5\ncheckpoint: {{every: 100}}\n"
GENERATE = f"kind: generate\nname: {{name}}\nmodel: noise@1\ncount: {ITEMS}\nseed: 5\nresources: {{{{workers: 2}}}}\n"
# The processes of several workers' training, by what Ray calls them.
GANG_WORKER, GANG_OTHERS = "RayTrainWorker", ("TrainController", "SynchronizationActor", "RunActor")


def submitted(platform: WholePlatform, spec: str) -> str:
    """Submit one job; its id."""
    return str(platform.json("submit", "-", stdin=spec)["jobs"][0]["id"])


def model_digest(platform: WholePlatform, done: dict[str, Any]) -> str:
    """The digest of the one model that a succeeded job published."""
    versions = [m for m in platform.json("models", "ls")["models"] if m["name"] == done["name"]]
    assert len(versions) == 1, versions
    return str(platform.json("models", "show", done["model"])["digest"])


def outputs_folder(done: dict[str, Any]) -> Path:
    """The folder of a succeeded generate job's files."""
    return Path(urlsplit(done["outputs"]["uri"]).path)


def items_made_once(platform: WholePlatform, done: dict[str, Any], count: int = ITEMS) -> list[dict[str, Any]]:
    """The items of a succeeded generate job: each there once, whole, and unlike all others."""
    folder = outputs_folder(done)
    items = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    assert [i["index"] for i in items] == list(range(count))
    assert all(hashlib.sha256((folder / i["path"]).read_bytes()).hexdigest() == i["sha256"] for i in items)
    assert len({i["files"][0]["payload_sha256"] for i in items}) == count
    events: list[dict[str, Any]] = platform.json("events", done["id"])["events"]
    assert [e["type"] for e in events].count("succeeded") == 1
    return items


def claims_of(items: list[dict[str, Any]]) -> set[int]:
    """The numbers of the claims under which the items were published."""
    return {int(i["path"].split("/")[0].rsplit(".c", 1)[1]) for i in items}


def free_cpus(platform: WholePlatform) -> float:
    """Return how many CPUs nobody holds; endpoints and idle pools of other tests hold some."""
    (ray,) = [part["detail"] for part in platform.json("status")["parts"] if "CPUs" in (part["detail"] or "")]
    found = re.search(r" (\S+) of \S+ CPUs", ray)
    assert found, ray
    return float(found[1])


def gang_is_gone(platform: WholePlatform, free: float) -> bool:
    """Whether no process of several workers' training is left, and no less than `free` CPUs are free again."""
    return free_cpus(platform) >= free and not any(map(platform.actors, (GANG_WORKER, *GANG_OTHERS)))
