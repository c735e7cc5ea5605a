"""A server as a process of its own, that ends with whoever started it: `python -m bench.serving ours|bare PORT`.

`ours` is the API as it ships. `bare` is what it is compared with: a FastAPI handler that commits
a row of the same table for each document it is sent, through the same engine, and does nothing else.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
import threading
import time
from typing import Annotated, Any

import sqlalchemy as sa
import uvicorn
from fastapi import Body, FastAPI

from genplatform import __main__ as genplatform
from genplatform import settings
from genplatform.api import server
from genplatform.catalog import database
from genplatform.catalog.tables import jobs
from genplatform.domain.ids import new_id


def bare(url: str) -> FastAPI:
    """Return the application that does the durable commit and nothing else."""
    app, engine = FastAPI(), database.connect(url)

    @app.post("/api/v1/jobs", status_code=201)
    def submit(body: Annotated[Any, Body()]) -> dict[str, Any]:
        rows = [row(spec) for spec in (body if isinstance(body, list) else [body])]
        with database.transaction(engine, write=True) as connection:
            connection.execute(sa.insert(jobs), rows)
        return {"jobs": [row["job_id"] for row in rows[:1000]]}

    def row(spec: dict[str, Any]) -> dict[str, Any]:
        return {
            "tenant_id": "bare",
            "job_id": new_id("j", secrets.randbelow),
            "name": spec["name"],
            "kind": spec["kind"],
            "queue": "default",
            "priority": 500,
            "labels": {},
            "spec": spec,
            "state": "succeeded",
            "open_needs": 0,
            "run": 0,
            "workers": 0,
            "done": 0,
            "total": spec["count"],
            "unit": "items",
            "created_at": time.time(),
        }

    return app


def main() -> int:
    """Serve until standard input ends."""
    kind, port = sys.argv[1], int(sys.argv[2])
    threading.Thread(target=_end_with_the_input, daemon=True).start()
    if kind == "ours":
        return genplatform.main(["api", "--port", str(port)])
    logging.basicConfig(level=logging.WARNING)
    config = uvicorn.Config(
        bare(settings.load().database), port=port, access_log=False, log_level="warning", backlog=server.BACKLOG
    )
    uvicorn.Server(config).run()
    return 0


def _end_with_the_input() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
