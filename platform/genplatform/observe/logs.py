"""Logs as JSON lines: one object an event, its ids as fields.

`logger.info("job_submitted", extra={"job_id": "j_..."})` becomes
`{"time":"...","level":"info","part":"api","event":"job_submitted","job_id":"j_..."}`.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, TextIO

from genplatform.domain.times import rfc3339

# What the standard library puts on every record; whatever else a record has came by `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
# A client library that reports each of its requests would drown what we report.
_QUIET = ("httpx", "httpcore", "asyncio", "alembic")


class JsonFormatter(logging.Formatter):
    """Format a record as one line of ASCII JSON, so that nothing logged can break a line or a terminal."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self._part = part

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        line: dict[str, Any] = {
            "time": rfc3339(record.created),
            "level": record.levelname.lower(),
            "part": self._part,
            "logger": record.name,
            "event": record.getMessage(),
        }
        line.update((k, v) for k, v in vars(record).items() if k not in _STANDARD and k not in line)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(part: str, *, stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Send this process's logs to `stream` (standard error) as JSON lines; calling it again replaces that."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(part))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
