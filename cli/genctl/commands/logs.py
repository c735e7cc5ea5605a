"""logs: what a job printed."""

from __future__ import annotations

import re
import sys
import time
from collections import deque
from itertools import chain
from typing import TYPE_CHECKING, Any

import click

from genctl import session

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from genctl.client import Client

POLL_SECONDS = 0.3


@click.command(short_help="Show what a job printed.")
@click.argument("job", shell_complete=session.complete_job)
@click.option("-f", "--follow", is_flag=True, help="Go on until the job is over; Ctrl-C detaches.")
@click.option("--tail", type=click.IntRange(0, 10_000), help="Only the last lines, this many.")
@click.option("--since", metavar="T", help="Only from then on: 90s, 10m, 2h, 1d ago, or an RFC 3339 time.")
@click.option("--search", metavar="TEXT", help="Only lines with this text in them, in capitals or not.")
@click.option("-E", "--regex", is_flag=True, help="Take the TEXT of --search for a regular expression.")
@click.option("-t", "--stamps", is_flag=True, help="Before each line its time, run, rank and stream.")
@click.option("--run", type=click.IntRange(min=1), help="Only of this run.")
@session.json_option
def logs(
    *,
    job: str,
    follow: bool,
    tail: int | None,
    since: str | None,
    search: str | None,
    regex: bool,
    stamps: bool,
    run: int | None,
    as_json: bool,
) -> None:
    """Show what JOB printed, oldest first."""
    from genctl import output, text
    from genctl.client import is_over

    if follow and as_json:
        raise click.UsageError("--follow prints lines as they come; it cannot be had with --json.")
    pattern = _compiled(search) if regex else None
    from_then = None
    if since is not None and (from_then := text.parse_since(since, time.time())) is None:
        raise click.BadParameter(f"{since!r} is neither a span such as 10m nor an RFC 3339 time.", param_hint="--since")
    with session.client() as client:
        found = client.job(job)
        since_then = None if from_then is None else max(0.0, from_then)
        reader = _Reader(client, found["id"], run, since_then, search, pattern)
        if as_json:
            lines = [line for page in reader.pages(tail) for line in page]
            output.emit_json({"lines": lines, "next": reader.after})
            return
        try:
            _print(reader.pages(tail), stamps)
            while follow and not is_over(found):
                time.sleep(POLL_SECONDS)
                # The job first: once it is over, one more reading has its last lines.
                found = client.job(found["id"])
                _print(reader.pages(), stamps)
        except KeyboardInterrupt:
            if not follow:
                raise
            output.note(f"\nDetached; the job goes on. Come back with `genctl logs -f {text.clean(found['id'])}`.")


def _compiled(search: str | None) -> re.Pattern[str]:
    if search is None:
        raise click.UsageError("--regex says how --search is read: give both.")
    try:
        return re.compile(search, re.IGNORECASE)
    except re.error as error:
        raise click.BadParameter(f"{search!r} is no regular expression: {error}.", param_hint="--search") from error


class _Reader:
    """Reads a job's log lines page by page, each once."""

    def __init__(
        self,
        client: Client,
        job: str,
        run: int | None,
        since: float | None,
        search: str | None,
        pattern: re.Pattern[str] | None = None,
    ) -> None:
        self._client = client
        self._job = job
        self._run = run
        self._since = since
        self._search = search
        self._pattern = pattern
        self.after = 0

    def pages(self, tail: int | None = None) -> Iterator[list[dict[str, Any]]]:
        """Yield the lines not read before; of those, the last `tail`."""
        if self._pattern is None:
            yield from self._pages(tail, self._search)
            return
        # A pattern is matched here: one that takes for ever holds up nobody but who wrote it.
        found = ([one for one in page if self._pattern.search(str(one.get("text")))] for page in self._pages())
        if tail is None:
            yield from found
        else:
            yield list(deque(chain.from_iterable(found), maxlen=tail))

    def _pages(self, tail: int | None = None, search: str | None = None) -> Iterator[list[dict[str, Any]]]:
        while True:
            wanted: dict[str, Any] = {"run": self._run, "since": self._since, "search": search, "tail": tail}
            answer = self._client.logs(self._job, after=self.after or None, **wanted)
            lines, reached = answer.get("lines") or [], answer.get("next") or 0
            if lines:
                yield lines
            if not lines or reached <= self.after or tail is not None:
                self.after = max(self.after, reached)
                return
            self.after = reached


def _print(pages: Iterable[list[dict[str, Any]]], stamps: bool) -> None:
    from genctl.output import say
    from genctl.text import clean, clean_line

    for page in pages:
        for line in page:
            stamp = " ".join(clean(line.get(name)) for name in ("time", "run", "rank", "stream")) if stamps else ""
            say(f"{stamp}{' ' if stamp else ''}{clean_line(str(line.get('text') or ''))}")
        sys.stdout.flush()
