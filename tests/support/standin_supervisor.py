"""The real supervisor over stand-in parts: `table.json` in the home says which. Started by `up` in tests.

It ends as if by `down` when the process of the tests (`GENCTL_TEST_OWNER`) ends, however that ends.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading

import psutil

from genplatform import settings as surroundings
from genplatform.local import parts, probes, supervisor
from genplatform.local.part import Part
from genplatform.settings import Settings


def plan(settings: Settings, port: int | None) -> tuple[str, list[Part]]:
    url, real = parts.plan(settings, port)
    chosen = int(url.rpartition(":")[2])
    by_name = {part.name: part for part in real}
    made = []
    for row in json.loads((settings.home / "table.json").read_text()):
        if row.get("real"):
            made.append(by_name[row["name"]])
            continue
        row["argv"] = [word.replace("{port}", str(chosen)) for word in row["argv"]]
        if row.pop("serves", False):
            row.update(port=chosen, ready=lambda: probes.http_ok(f"{url}/readyz"))
        if row.pop("never_ready", False):
            row.update(ready=lambda: False)
        made.append(Part(**row))
    return url, made


def follow(owner: int) -> None:
    psutil.Process(owner).wait()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lock-fd", type=int, required=True)
    parser.add_argument("--port", type=int)
    args = parser.parse_args()
    owner = int(surroundings.environment()["GENCTL_TEST_OWNER"])
    threading.Thread(target=follow, args=(owner,), daemon=True).start()
    supervisor.supervise(surroundings.load(), args.lock_fd, lambda its: plan(its, args.port))
