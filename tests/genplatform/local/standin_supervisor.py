"""The real supervisor over stand-in parts: `table.json` in the home says which. Started by `up` in tests."""

from __future__ import annotations

import argparse
import json

from genplatform import settings as surroundings
from genplatform.local import parts, probes, supervisor
from genplatform.local.part import Part
from genplatform.settings import Settings


def plan(settings: Settings, port: int | None) -> tuple[str, list[Part]]:
    table = json.loads((settings.home / "table.json").read_text())
    url, real = parts.plan(settings, port)
    chosen = int(url.rpartition(":")[2])
    by_name = {part.name: part for part in real}
    made = []
    for row in table:
        if row.get("real"):
            made.append(by_name[row["name"]])
            continue
        row["argv"] = [word.replace("{port}", str(chosen)) for word in row.get("argv", [])]
        if row.pop("serves", False):
            row.update(port=chosen, ready=lambda: probes.http_ok(f"{url}/readyz"))
        made.append(Part(**row))
    return url, made


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lock-fd", type=int, required=True)
    parser.add_argument("--port", type=int)
    args = parser.parse_args()
    supervisor.supervise(surroundings.load(), args.lock_fd, lambda its: plan(its, args.port))
